// Sign-in by Authorization Code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core 1.0). Tokens are never stored.
// During the redirect, the browser stores the verifier, which is useless without the code.

import * as oauth from "oauth4webapi";

export interface Settings {
  issuer: string;
  client_id: string;
  scope: string;
  /** Names the API to providers such as Auth0, which issue no JWT access token without it. */
  audience?: string;
  /** Names the API as in RFC 8707. */
  resource?: string;
}

const PENDING = "access-keys.sign-in";
const REDIRECT_URI = `${location.origin}/console`;

/** Why a sign-in failed, with a message for the user. */
export class SignInError extends Error {}

interface Pending {
  verifier: string;
  state: string;
  nonce: string;
}

export async function loadSettings(): Promise<Settings> {
  const response = await fetch("/console/config.json");
  if (!response.ok) throw new SignInError("The console's settings cannot be read. Try again in a moment.");
  return (await response.json()) as Settings;
}

/** Redirects the browser to the identity provider. */
export async function beginSignIn(settings: Settings): Promise<void> {
  const provider = await discover(settings);
  if (!provider.authorization_endpoint) throw new SignInError("The identity provider has no sign-in page.");
  const pending: Pending = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
  };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const url = new URL(provider.authorization_endpoint);
  for (const [name, value] of Object.entries({
    client_id: settings.client_id,
    redirect_uri: REDIRECT_URI,
    response_type: "code",
    scope: settings.scope,
    state: pending.state,
    nonce: pending.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(pending.verifier),
    code_challenge_method: "S256",
  })) {
    url.searchParams.set(name, value);
  }
  if (settings.audience) url.searchParams.set("audience", settings.audience);
  if (settings.resource) url.searchParams.set("resource", settings.resource);
  location.assign(url);
}

/** Whether the identity provider has sent the browser back. */
export function isReturning(): boolean {
  const query = new URLSearchParams(location.search);
  return query.has("code") || query.has("error");
}

/** Exchanges the response in the URL for an access token. Clears the address bar and the stored verifier. */
export async function finishSignIn(settings: Settings): Promise<string> {
  const returned = new URL(location.href);
  const stored = sessionStorage.getItem(PENDING);
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", REDIRECT_URI);
  if (!stored) throw new SignInError("This sign-in was not begun here. Sign in again.");
  const pending = JSON.parse(stored) as Pending;
  const provider = await discover(settings);
  const client: oauth.Client = { client_id: settings.client_id };
  // RFC 8707, section 2.2: the token request also contains the resource.
  const additionalParameters: Record<string, string> = settings.resource ? { resource: settings.resource } : {};
  try {
    const parameters = oauth.validateAuthResponse(provider, client, returned, pending.state);
    const response = await oauth.authorizationCodeGrantRequest(
      provider, client, oauth.None(), parameters, REDIRECT_URI, pending.verifier,
      { additionalParameters, ...insecure(settings) },
    );
    const tokens = await oauth.processAuthorizationCodeResponse(provider, client, response, {
      expectedNonce: pending.nonce,
      requireIdToken: true,
    });
    return tokens.access_token;
  } catch (error) {
    throw new SignInError(reason(error));
  }
}

async function discover(settings: Settings): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(settings.issuer);
  try {
    return await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure(settings)));
  } catch {
    throw new SignInError("The identity provider cannot be reached. Try again in a moment.");
  }
}

/** Allows plain HTTP only for an identity provider on this machine. */
function insecure(settings: Settings) {
  const { protocol, hostname } = new URL(settings.issuer);
  return { [oauth.allowInsecureRequests]: protocol === "http:" && hostname === "127.0.0.1" };
}

function reason(error: unknown): string {
  if (error instanceof oauth.AuthorizationResponseError || error instanceof oauth.ResponseBodyError) {
    if (error.error === "access_denied") return "You are not signed in: the sign-in was cancelled or refused.";
    return `The identity provider refused the sign-in: ${error.error_description ?? error.error}.`;
  }
  return "The answer of the identity provider does not belong to this sign-in. Sign in again.";
}
