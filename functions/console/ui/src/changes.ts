// Changes that the user has made in the page. Every list that is shown takes them over.

import type { Key, User } from "./api";

export type Change =
  | { what: "key"; key: Key }
  | { what: "new-key"; key: Key }
  /** Keys of a user may have changed: for example, a response was lost, or all of them were revoked. */
  | { what: "keys-of"; userId: string }
  | { what: "user"; user: User }
  | { what: "deleted-user"; id: string }
  | { what: "deleted-cluster"; name: string };

type Listener = (change: Change) => void;

const listeners = new Set<Listener>();

export function publish(change: Change): void {
  for (const listener of [...listeners]) listener(change);
}

export function subscribe(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
