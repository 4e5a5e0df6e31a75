"""The five steps of README.md, and errors, with the client that openapi-python-client generates.

Usage: five_steps.py <URL> <token of an administrator>
"""

import sys

from access_keys_client.api.keys import create_key, list_user_keys, revoke_key
from access_keys_client.api.public_keys import public_keys
from access_keys_client.api.users import get_user, list_users
from access_keys_client.api.validation import validate_key
from access_keys_client.client import AuthenticatedClient, Client
from access_keys_client.models import (
    ActiveKey,
    CreatedKey,
    Failure,
    InactiveKey,
    InactiveKeyCode,
    KeyPage,
    KeyRole,
    KeyToValidate,
    NewKey,
    Problem,
    PublicKeyKty,
    PublicKeys,
    User,
    UserPage,
)


def five_steps(admin: AuthenticatedClient) -> None:
    users = list_users.sync(client=admin)
    assert isinstance(users, UserPage), users
    assert "editor" in [user.id for user in users.items]

    user = get_user.sync("editor", client=admin)
    assert isinstance(user, User), user

    new = NewKey(name="python", role=KeyRole.VIEWER, expires_in_days=30, max_clusters=1)
    key = create_key.sync(user.id, client=admin, body=new)
    assert isinstance(key, CreatedKey), key
    assert (key.name, key.revoked_at) == ("python", None)

    query = KeyToValidate(access_key=key.access_key)
    valid = validate_key.sync(client=admin, body=query)
    assert isinstance(valid, ActiveKey), valid
    assert valid.jti == key.id

    done = revoke_key.sync_detailed(user.id, key.id, client=admin, reason="five steps")
    assert done.status_code == 204, done
    revoked = validate_key.sync(client=admin, body=query)
    assert isinstance(revoked, InactiveKey), revoked
    assert revoked.code == InactiveKeyCode.REVOKED

    keys = list_user_keys.sync(user.id, client=admin, limit=1)
    assert isinstance(keys, KeyPage), keys
    assert keys.items[0].revoked_reason == "five steps"


def errors(admin: AuthenticatedClient, stranger: AuthenticatedClient) -> None:
    problem = list_users.sync(client=admin, limit=0)
    assert isinstance(problem, Problem), problem
    assert problem.code == "invalid_request"

    # Functions and the gateway return errors with these statuses. The gateway returns the last of these errors.
    invalid = create_key.sync("me", client=admin, body=NewKey(name="", role=KeyRole.VIEWER))
    assert isinstance(invalid, Failure), invalid
    assert invalid.code == "invalid_request"
    assert invalid.errors and invalid.errors[0].field == "name"
    unknown = get_user.sync("nobody", client=admin)
    assert isinstance(unknown, Failure), unknown
    assert (unknown.status, unknown.code) == (404, "not_found")
    refused = list_users.sync(client=stranger)
    assert isinstance(refused, Failure), refused
    assert refused.message == "Unauthorized"


def main(url: str, token: str) -> None:
    admin = AuthenticatedClient(base_url=url, token=token)
    five_steps(admin)
    errors(admin, AuthenticatedClient(base_url=url, token="unknown"))
    found = public_keys.sync(client=Client(base_url=url))
    assert isinstance(found, PublicKeys), found
    assert [key.kty for key in found.keys] == [PublicKeyKty.EC]


main(*sys.argv[1:])
