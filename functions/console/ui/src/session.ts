// The signed-in user, and the parts of the application that every view needs.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Api, User } from "./api";

export interface Session {
  api: Api;
  me: User;
  /** Updates the signed-in user after a change in the directory. */
  setMe(me: User): void;
  /** Shows a message, and announces it to screen readers. */
  say(text: string): void;
}

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("a view of the signed-in page outside of it");
  return session;
}
