// What was done, said briefly on the screen and to screen readers.

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export const AnnouncementContext = createContext("");

/** A live region. Each open dialog has one of its own, because what lies outside a modal dialog is not read out. */
export function Announcements() {
  const text = useContext(AnnouncementContext);
  return <div class="toasts" role="status">{text && <p class="toast">{text}</p>}</div>;
}
