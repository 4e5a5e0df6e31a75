// Sign-in by Authorization Code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core 1.0), and sign-out by OpenID Connect
// RP-Initiated Logout 1.0. Tokens are never stored. During a redirect, the browser stores the verifier, which is
// useless without the code, and the place to return to.

import * as oauth from "oauth4webapi";
import { claims } from "./jwt";

export interface Settings {
  issuer: string;
  client_id: string;
  scope: string;
  /** Names the API to providers such as Auth0, which issue no JWT access token without it. */
  audience?: string;
  /** Names the API as in RFC 8707. */
  resource?: string;
}

export interface Tokens {
  access: string;
  /** The ID token, for the URL of the sign-out. Undefined if the API might accept it in place of an access token. */
  idHint: string | undefined;
}

const PENDING = "access-keys.sign-in";
/** Set while the page must not begin a silent sign-in: during one, and after a sign-out. */
const NOT_SILENT = "access-keys.not-silent";
const AFTER_SIGN_OUT = "after a sign-out";
const REDIRECT_URI = `${location.origin}/console`;

/** Errors that only say that a silent sign-in is not possible (OpenID Connect Core 1.0, section 3.1.2.6). */
const NEEDS_PAGE = ["login_required", "interaction_required", "account_selection_required", "consent_required"];

/** Why a sign-in failed, with a message for the user. */
export class SignInError extends Error {}

interface Pending {
  verifier: string;
  state: string;
  nonce: string;
  /** The fragment of the URL to return to. */
  place: string;
  isSilent: boolean;
}

export async function loadSettings(): Promise<Settings> {
  const response = await fetch("/console/config.json").catch(() => undefined);
  if (!response?.ok) throw new SignInError("The console's settings cannot be read. Try again in a moment.");
  return (await response.json()) as Settings;
}

/**
 * Redirects the browser to the identity provider. With `none`, the sign-in is silent: it succeeds only if the provider
 * has a session, and otherwise returns without showing anything. With `login`, the provider asks even if it has a
 * session.
 */
export async function beginSignIn(settings: Settings, prompt?: "none" | "login"): Promise<void> {
  const isSilent = prompt === "none";
  const provider = await discover(settings);
  if (!provider.authorization_endpoint) throw new SignInError("The identity provider has no authorization endpoint. Ask the operator to check OidcIssuer.");
  const pending: Pending = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    place: location.hash,
    isSilent,
  };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  if (isSilent) sessionStorage.setItem(NOT_SILENT, "during a silent sign-in");
  const parameters = {
    client_id: settings.client_id,
    redirect_uri: REDIRECT_URI,
    response_type: "code",
    scope: settings.scope,
    state: pending.state,
    nonce: pending.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(pending.verifier),
    code_challenge_method: "S256",
    ...(prompt && { prompt }),
    ...(settings.audience && { audience: settings.audience }),
    ...(settings.resource && { resource: settings.resource }),
  };
  location.assign(withParameters(provider.authorization_endpoint, parameters));
}

/** Whether the user has signed out in this window, and not signed in again. */
export const isSignedOut = () => sessionStorage.getItem(NOT_SILENT) === AFTER_SIGN_OUT;

/** Whether this load of the page may begin a silent sign-in. */
export function mayBeSilent(): boolean {
  // If the flag is set, the previous silent sign-in never came back with an answer. The next load may try again.
  const wasBegun = sessionStorage.getItem(NOT_SILENT) !== null;
  sessionStorage.removeItem(NOT_SILENT);
  return !wasBegun;
}

/** Whether the identity provider has sent the browser back. */
export function isReturning(): boolean {
  const query = new URLSearchParams(location.search);
  return query.has("code") || query.has("error");
}

/**
 * Exchanges the response in the URL for tokens, and returns to the place where the sign-in began. Clears the address
 * bar and the stored verifier. Undefined if a silent sign-in was not possible.
 */
export async function finishSignIn(settings: Settings): Promise<Tokens | undefined> {
  const returned = new URL(location.href);
  const stored = sessionStorage.getItem(PENDING);
  const pending = stored ? (JSON.parse(stored) as Pending) : undefined;
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", REDIRECT_URI + (pending?.place ?? ""));
  if (!pending) throw new SignInError("This sign-in did not start in this window. Sign in again.");
  if (pending.isSilent) sessionStorage.removeItem(NOT_SILENT);
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
    sessionStorage.removeItem(NOT_SILENT);
    const [access, id] = [audiences(tokens.access_token, settings), audiences(tokens.id_token ?? "", settings)];
    return { access: tokens.access_token, idHint: id.some((one) => access.includes(one)) ? undefined : tokens.id_token };
  } catch (error) {
    if (pending.isSilent && error instanceof oauth.AuthorizationResponseError && NEEDS_PAGE.includes(error.error)) return undefined;
    throw new SignInError(reason(error));
  }
}

/** The audiences of a token. An access token without `aud` is for the client, as with Cognito. */
function audiences(token: string, { client_id }: Settings): string[] {
  const read = claims<{ aud?: string | string[] }>(token);
  return read ? [read.aud ?? client_id].flat() : [];
}

/**
 * Ends the identity provider's session, which leaves the page. Returns false if the provider offers no way to do that,
 * or cannot be reached.
 */
export async function endSession(settings: Settings, idHint: string | undefined): Promise<boolean> {
  // Without this, the next load of the page would sign the user in again.
  sessionStorage.setItem(NOT_SILENT, AFTER_SIGN_OUT);
  try {
    const url = logoutUrl(settings, await discover(settings), idHint);
    if (!url) return false;
    location.assign(url);
    return true;
  } catch {
    return false;
  }
}

function logoutUrl({ issuer, client_id }: Settings, provider: oauth.AuthorizationServer, idHint: string | undefined): URL | undefined {
  // The logout endpoint of Amazon Cognito has its own parameters, and is in the domain of the sign-in page.
  if (/^cognito-idp\..*\.amazonaws\.com/.test(new URL(issuer).hostname) && provider.authorization_endpoint) {
    return withParameters(new URL("/logout", provider.authorization_endpoint).href, { client_id, logout_uri: REDIRECT_URI });
  }
  if (!provider.end_session_endpoint) return undefined;
  return withParameters(provider.end_session_endpoint, {
    client_id,
    post_logout_redirect_uri: REDIRECT_URI,
    ...(idHint && { id_token_hint: idHint }),
  });
}

function withParameters(endpoint: string, parameters: Record<string, string>): URL {
  const url = new URL(endpoint);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
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
  if (error instanceof TypeError) return "The identity provider's token endpoint cannot be reached. Try again in a moment. If the error persists, ask the operator to check OidcTokenOrigin and the CORS settings of the endpoint.";
  return "The identity provider's response does not match this sign-in. Check the clock of this computer, and sign in again.";
}
