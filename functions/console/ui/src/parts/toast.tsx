// Short messages about completed actions, on the screen and for screen readers.

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export const AnnouncementContext = createContext("");

/** A live region. Each dialog has its own, because screen readers do not announce text outside a modal dialog. */
export function Announcements({ isShown = true }: { isShown?: boolean }) {
  const announced = useContext(AnnouncementContext);
  const text = isShown && announced;
  return <div class="toasts" role="status">{text && <p key={text} class="toast">{text}</p>}</div>;
}
