// JSON Web Tokens (RFC 7519) whose signature somebody else has verified, or whose claims are only a hint.

/** The claims of a token. Undefined if the text is not a token. */
export function claims<T>(token: string): T | undefined {
  try {
    return JSON.parse(atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"))) as T;
  } catch {
    return undefined;
  }
}
