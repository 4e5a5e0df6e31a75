// Copying to the clipboard.

import { Icon } from "./icons";
import { useSession } from "../session";

/** Copies text to the clipboard. Returns false if the browser does not allow it. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  const { say } = useSession();
  const copy = async () => say((await copied(text)) ? `${what} copied to clipboard` : "The browser does not allow copying: select the text and press Ctrl+C or ⌘C");
  return (
    <button type="button" class="quiet" aria-label={`Copy ${what}`} onClick={copy}><Icon name="copy" /></button>
  );
}

/** A command line, ready to copy. */
export function Command({ title, text }: { title: string; text: string }) {
  return (
    <div class="command">
      <p>{title}</p>
      <div><pre translate={false}>{text}</pre><CopyButton text={text} what={title} /></div>
    </div>
  );
}
