// Who is signed in, and what every view needs of the application around it.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Api, User } from "./api";

export interface Session {
  api: Api;
  me: User;
  /** Takes over what the directory now says of the caller. */
  setMe(me: User): void;
  /** Tells everyone, screen readers included, that something was done. */
  say(text: string): void;
}

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("a view of the signed-in page outside of it");
  return session;
}
