// Changes that the user has made in the page. Every list on the screen applies them.

import type { Key, User } from "./api";

export type Change =
  | { what: "key"; key: Key }
  | { what: "new-key"; key: Key }
  /** Keys of a user may have changed: for example, all of them were revoked. */
  | { what: "keys-of"; userId: string }
  /** A request failed, but may have taken effect. */
  | { what: "unknown" }
  | { what: "user"; user: User }
  | { what: "deleted-user"; id: string }
  | { what: "deleted-cluster"; name: string };

export type KnownChange = Exclude<Change, { what: "unknown" }>;

type Listener = (change: Change) => void;

const listeners = new Set<Listener>();

export function publish(change: Change): void {
  for (const listener of [...listeners]) listener(change);
}

export function subscribe(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
