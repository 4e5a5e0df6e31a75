// Calls to the API. The types in api-types.ts are generated from infra/openapi.yaml by `npm run check`.

import type { Key, KeyChange, Problem, UserChange, Verdict } from "./api-types";

export type {
  AuditAction, AuditEntry, Cluster, ClusterWithNodes, CreatedKey, Key, KeyChange, KeyRole, Limits, NewKey, Permission, Principal, Rotation,
  User, UserChange, UserRole, Verdict,
} from "./api-types";

/** A page of a list. `examined` and `skipped` are absent in lists that have no filters. */
export interface Page<T> {
  items: T[];
  examined?: number;
  skipped?: number;
  next_cursor: string | null;
}

/** An error with a message for the user. `fields` maps field names to their messages, from `errors` of the problem. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status = 0,
    readonly fields: Record<string, string> = {},
    /** How many seconds to wait before the next attempt, if the service says so. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }

  /** Whether the request may have taken effect although it failed. */
  get isUncertain(): boolean {
    return this.status === 0 || this.status >= 500;
  }
}

export class Api {
  constructor(
    private readonly token: string,
    private readonly onSessionEnd: () => void,
  ) {}

  get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.send("GET", path, { signal });
  }

  post<T>(path: string, body: string, headers: Record<string, string>): Promise<T> {
    return this.send("POST", path, { body, headers });
  }

  patch<T>(path: string, body: KeyChange | UserChange): Promise<T> {
    return this.send("PATCH", path, { body: JSON.stringify(body) });
  }

  delete(path: string): Promise<void> {
    return this.send("DELETE", path, {});
  }

  private async send<T>(method: string, path: string, options: RequestInit): Promise<T> {
    const headers = new Headers(options.headers);
    headers.set("Authorization", `Bearer ${this.token}`);
    try {
      return await request<T>(path, { ...options, method, headers });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
      this.onSessionEnd();
      throw new ApiError("Your session has ended. Sign in again.", 401);
    }
  }
}

/** Validates an access key in one tenant. Sends no token. */
export function validateKey(accessKey: string, tenant: string): Promise<Verdict> {
  return post("/v1/access-keys/validate", accessKey, { "X-Tenant-Id": tenant });
}

/** Revokes an access key by possession. Sends no token. */
export function revokePresentedKey(accessKey: string): Promise<void> {
  return post("/v1/access-keys/revoke", accessKey, {});
}

function post<T>(path: string, accessKey: string, headers: Record<string, string>): Promise<T> {
  return request(path, { method: "POST", body: JSON.stringify({ access_key: accessKey }), headers: new Headers(headers) });
}

/** Longer than the 30 seconds after which API Gateway gives up. */
const TIMEOUT_MS = 40_000;

async function request<T>(path: string, options: RequestInit & { headers: Headers }): Promise<T> {
  if (options.body) options.headers.set("Content-Type", "application/json");
  let response: Response;
  let text: string;
  try {
    const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(options.signal ? [options.signal] : [])];
    response = await fetch(path, { ...options, signal: AbortSignal.any(signals), cache: "no-store" });
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const isLate = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError(isLate ? "The service did not respond in time. Try again." : "The service cannot be reached. Check your connection and try again.");
  }
  if (!response.ok) throw refusal(response, text, options.method === "GET");
  try {
    return (text ? JSON.parse(text) : undefined) as T;
  } catch {
    throw new ApiError("The response is not from the service. Check your connection and try again.");
  }
}

/** Messages for errors that contain no `detail`, because API Gateway or a proxy made them. */
const WITHOUT_DETAIL: Record<number, string> = {
  404: "this deployment does not offer this feature",
  429: "too many requests: wait a moment and try again",
  431: "the browser sends too many cookies: delete the cookies of this site and of its parent domain, then reload the page",
  494: "the browser sends too many cookies: delete the cookies of this site and of its parent domain, then reload the page",
};

/** For a read, the message names the parameters, because no field shows it. */
function refusal({ status, headers }: Response, text: string, isRead: boolean): ApiError {
  let problem: Partial<Problem> = {};
  try {
    problem = JSON.parse(text) as Partial<Problem>;
  } catch {
    // Not JSON, for example an error page from a proxy. The message depends on the status alone.
  }
  const fields = Object.fromEntries((problem.errors ?? []).map((e) => [e.field, sentence(e.detail)]));
  const detail = (isRead ? "" : Object.values(fields).join(" ")) || (problem.detail ?? WITHOUT_DETAIL[status] ?? `the service answered with status ${status}: try again in a moment`);
  const reference = status >= 500 && problem.request_id ? ` Request id: ${problem.request_id}` : "";
  const wait = Number(headers.get("Retry-After"));
  return new ApiError(sentence(detail) + reference, status, fields, wait > 0 ? wait : undefined);
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

export function message(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong on this page. Reload it and try again.";
}

/**
 * A user's id as a path segment. If gateways would change the percent-encoded form, or if the segment would have
 * another meaning, the result is `~` followed by the id in base64url.
 */
function userSegment(id: string): string {
  if (id !== "me" && !/^[~.]|[/?%#\\]/.test(id)) return encodeURIComponent(id);
  return "~" + btoa(id).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export const userPath = (id: string) => `/v1/users/${userSegment(id)}`;
export const keysPath = (userId: string) => `${userPath(userId)}/access-keys`;
export const keyPath = ({ user_id, id }: Pick<Key, "user_id" | "id">) => `${keysPath(user_id)}/${encodeURIComponent(id)}`;
export const clusterPath = (name: string) => `/v1/clusters/${encodeURIComponent(name)}`;
