// The dialog that is open, if any. It stays open while lists behind it change, and opens again after a new sign-in.

import { ChangeKey, type ChangeKeySpec } from "./change-key";
import { DeleteCluster, type DeleteClusterSpec } from "./delete-cluster";
import { CreateKey, type CreateKeySpec } from "./create-key";
import { FoundKey, type FoundKeySpec } from "./found-key";
import { RevokeAll, RevokeKey, type RevokeSpec } from "./revoke-key";
import { RotateKey, type RotateKeySpec } from "./rotate-key";
import { ChangeRole, ChangeStatus, DeleteUser, Permissions, type UserSpec } from "./user-dialogs";

/** Which dialog is open, and about what. Contains no key. */
export type Opened = CreateKeySpec | RotateKeySpec | ChangeKeySpec | RevokeSpec | FoundKeySpec | UserSpec | DeleteClusterSpec;

export function OpenDialog({ spec, onClose }: { spec: Opened; onClose(): void }) {
  switch (spec.what) {
    case "create-key": return <CreateKey spec={spec} onClose={onClose} />;
    case "rotate-key": return <RotateKey spec={spec} onClose={onClose} />;
    case "change-key": return <ChangeKey spec={spec} onClose={onClose} />;
    case "revoke-key": return <RevokeKey spec={spec} onClose={onClose} />;
    case "revoke-all": return <RevokeAll spec={spec} onClose={onClose} />;
    case "found-key": return <FoundKey onClose={onClose} />;
    case "permissions": return <Permissions spec={spec} onClose={onClose} />;
    case "role": return <ChangeRole spec={spec} onClose={onClose} />;
    case "status": return <ChangeStatus spec={spec} onClose={onClose} />;
    case "delete-user": return <DeleteUser spec={spec} onClose={onClose} />;
    case "delete-cluster": return <DeleteCluster spec={spec} onClose={onClose} />;
  }
}
