// The signed-in user, and the parts of the application that every view needs.

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Api, Limits, User } from "./api";
import type { Opened } from "./dialogs";

export interface Session {
  api: Api;
  me: User;
  limits: Limits;
  /** Shows a message, and announces it to screen readers. */
  say(text: string): void;
  open(dialog: Opened): void;
  /** Whether the service no longer accepts the token. */
  hasEnded: boolean;
  /** Signs in again, and returns to this place. What was entered into an open form is kept. */
  signInAgain(): void;
}

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("useSession was called outside of the signed-in page");
  return session;
}
