// Calls to the API. The types in api-types.ts are generated from infra/openapi.yaml by `npm run check`.

import type { Key, KeyChange, KeyPage, Problem, UserChange } from "./api-types";

export type { Cluster, ClusterWithNodes, CreatedKey, Key, KeyRole, NewKey, Permission, User, UserChange, UserRole } from "./api-types";

export type Page<T> = Omit<KeyPage, "items"> & { items: T[] };

/** An error with a message for the user. `fields` maps field names to their messages, from `errors` of the problem. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status = 0,
    readonly fields: Record<string, string> = {},
  ) {
    super(message);
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
    if (options.body) headers.set("Content-Type", "application/json");
    let response: Response;
    try {
      response = await fetch(path, { ...options, method, headers, cache: "no-store" });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError("The service cannot be reached. Check your connection and try again.");
    }
    const text = await response.text();
    if (response.ok) return (text ? JSON.parse(text) : undefined) as T;
    if (response.status === 401) this.onSessionEnd();
    throw refusal(response.status, text);
  }
}

/** Messages for errors from API Gateway. These errors contain no `detail`. */
const WITHOUT_DETAIL: Record<number, string> = {
  404: "this deployment does not offer that",
  429: "too many requests: wait a moment and try again",
};

function refusal(status: number, text: string): ApiError {
  if (status === 401) return new ApiError("Your session has ended. Sign in again.", status);
  let problem: Partial<Problem> = {};
  try {
    problem = JSON.parse(text) as Partial<Problem>;
  } catch {
    // Not JSON, for example an error page from a proxy. The message depends on the status alone.
  }
  const fields = Object.fromEntries((problem.errors ?? []).map((e) => [e.field, sentence(e.detail)]));
  const detail = Object.values(fields).join(" ") || (problem.detail ?? WITHOUT_DETAIL[status] ?? `the service answered with status ${status}: try again in a moment`);
  const reference = status >= 500 && problem.request_id ? ` Request id: ${problem.request_id}` : "";
  return new ApiError(sentence(detail) + reference, status, fields);
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

export function message(error: unknown): string {
  return error instanceof ApiError ? error.message : "Something went wrong in this page. Reload it and try again.";
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
export const keyPath = (key: Key) => `${keysPath(key.user_id)}/${key.id}`;
export const clusterPath = (name: string) => `/v1/clusters/${encodeURIComponent(name)}`;
