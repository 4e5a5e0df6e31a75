// Text that changes while it is shown.

/**
 * A text that is replaced as a whole. Translators in browsers wrap the text of a page in elements of their own, so that
 * a change inside a text node would not be shown.
 */
export function Text({ of }: { of: string }) {
  return <span key={of}>{of}</span>;
}

/** A number with its noun: "1 cluster", "3 clusters". */
export const count = (n: number, noun: string) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;
