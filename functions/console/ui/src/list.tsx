// A list from the API. It is read with cursors, as far as needed for the page that is shown.

import { useEffect, useState } from "preact/hooks";
import { type Page, message } from "./api";
import { useSession } from "./session";

const ROWS = 10;
const READ_AT_ONCE = 50;

interface State {
  /** The rows of the page that is shown. */
  rows: unknown[];
  isLoading: boolean;
  error: string | undefined;
  reload(): void;
}

interface List<T> extends State {
  rows: T[];
  page: PageOfList;
  /** Replaces `old` with `item`, or removes `old` if `item` is undefined. */
  replace(old: T, item: T | undefined): void;
}

interface PageOfList {
  first: number;
  last: number;
  known: number;
  isComplete: boolean;
  go(step: -1 | 1): void;
}

/**
 * Lists the items that `keep` accepts. The page filters them itself, so the hook reads more items until a page is full.
 * When `keep` changes, also change `filter`, so that the list returns to its first page.
 */
export function useList<T extends { id: unknown }>(path: string, keep = (_: T) => true, filter = ""): List<T> {
  const { api } = useSession();
  const [items, setItems] = useState<T[]>([]);
  const [cursor, setCursor] = useState<string | null>("");
  const [error, setError] = useState<string>();
  const [wantedPage, setPage] = useState(0);
  const [attempt, setAttempt] = useState(0);

  const kept = items.filter(keep);
  const isLoading = cursor !== null && !error && kept.length <= (wantedPage + 1) * ROWS;
  useEffect(() => {
    if (!isLoading) return;
    const aborter = new AbortController();
    const query = new URLSearchParams({ limit: String(READ_AT_ONCE), ...(cursor && { cursor }) });
    api.get<Page<T>>(`${path}?${query}`, aborter.signal).then(
      (answer) => {
        setItems((before) => [...before, ...answer.items]);
        setCursor(answer.next_cursor);
      },
      (failure) => aborter.signal.aborted || setError(message(failure)),
    );
    return () => aborter.abort();
  }, [api, path, isLoading, cursor, attempt]);

  useEffect(() => setPage(0), [filter]);

  const lastPage = Math.max(0, Math.ceil(kept.length / ROWS) - 1);
  const page = Math.min(wantedPage, lastPage);
  const rows = kept.slice(page * ROWS, (page + 1) * ROWS);
  return {
    rows,
    isLoading,
    error,
    page: {
      first: page * ROWS + 1,
      last: page * ROWS + rows.length,
      known: kept.length,
      isComplete: cursor === null,
      go: (step) => setPage(page + step),
    },
    reload: () => {
      setItems([]);
      setCursor("");
      setError(undefined);
      setAttempt(attempt + 1);
    },
    replace: (old, item) => setItems((all) => all.flatMap((one) => (one.id === old.id ? (item ?? []) : one))),
  };
}

/** The position in a list, and buttons to change the page. Shown only if the list has more than one page. */
export function Pager({ of: { first, last, known, isComplete, go }, what }: { of: PageOfList; what: string }) {
  if (known === 0 || (isComplete && known <= ROWS)) return null;
  return (
    <nav class="pager" aria-label={`Pages of ${what}`}>
      <span role="status">{`${first}–${last} of ${isComplete ? known : `more than ${known}`}`}</span>
      <button type="button" disabled={first === 1} onClick={() => go(-1)}>Previous</button>
      <button type="button" disabled={isComplete && last >= known} onClick={() => go(1)}>Next</button>
    </nav>
  );
}

/** Shown instead of rows while they are loading, if they cannot be read, or if there are none. */
export function Placeholder({ list, empty }: { list: State; empty: string }) {
  if (list.error) {
    return (
      <div class="placeholder" role="alert">
        <p>{list.error}</p>
        <button type="button" onClick={list.reload}>Try again</button>
      </div>
    );
  }
  if (list.rows.length > 0) return null;
  return <p class={list.isLoading ? "placeholder loading" : "placeholder"} role="status">{list.isLoading ? "Loading…" : empty}</p>;
}
