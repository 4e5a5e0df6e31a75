// The place in the page. The fragment of the URL names it, for example "#keys?status=active".

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Place {
  /** The segments of the path. The first one names the view. */
  path: string[];
  query: URLSearchParams;
}

function parse(hash: string): Place {
  const [, path = "", query = ""] = /^#?([^?]*)\??(.*)$/.exec(hash) ?? [];
  return { path: path.split("/").map(decode), query: new URLSearchParams(query) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The link to a place. Values of the query that are empty or undefined are left out. */
export function href(path: string[], values: Record<string, string | undefined> = {}): string {
  const query = new URLSearchParams(Object.entries(values).flatMap(([name, value]) => (value ? [[name, value]] : [])));
  return `#${path.map(encodeURIComponent).join("/")}${query.size > 0 ? `?${query}` : ""}`;
}

export const keyHref = (key: { user_id: string; id: string }) => href(["keys", key.user_id, key.id]);

interface Guard {
  ask(): void;
  isInDraft: boolean;
}

let shown = "";
let show: (place: Place) => void = () => {};
/** The reasons to stay at this place. The last one asks the user. */
const guards: Guard[] = [];
/** Whether a redirect to the identity provider has begun. The browser then does not ask before it leaves the page. */
let isLeaving = false;

/** Changes the query of the current place, without a new entry in the history. */
export function changeQuery(values: Record<string, string | undefined>): void {
  const { path, query } = parse(shown);
  shown = href(path, { ...Object.fromEntries(query), ...values });
  history.replaceState(null, "", shown);
  show(parse(shown));
}

/** The current place. It follows the address, except while there is a guard. */
export function usePlace(): Place {
  const [place, setPlace] = useState(() => parse((shown = location.hash)));
  useEffect(() => {
    show = setPlace;
    const follow = () => {
      if (location.hash === shown) return;
      const guard = guards.at(-1);
      if (guard) {
        history.pushState(null, "", shown || "#");
        guard.ask();
        return;
      }
      shown = location.hash;
      setPlace(parse(shown));
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return place;
}

/**
 * While `isSet`, Back and other addresses call `onLeave` instead of leaving, and the browser asks before a reload. With
 * `isKept`, the user can still sign in again, because the draft of the form keeps the values.
 */
export function useGuard(isSet: boolean, onLeave: () => void, isKept?: "kept in the draft"): void {
  const latest = useRef(onLeave);
  latest.current = onLeave;
  // A layout effect, because an effect runs only after the next paint. Until then, Back would lose a new key.
  useLayoutEffect(() => {
    if (!isSet) return;
    const guard = { ask: () => latest.current(), isInDraft: isKept !== undefined };
    const ask = (event: Event) => isLeaving || event.preventDefault();
    guards.push(guard);
    addEventListener("beforeunload", ask);
    return () => {
      guards.splice(guards.indexOf(guard), 1);
      removeEventListener("beforeunload", ask);
    };
  }, [isSet]);
}

/** Whether the page may be left. If not, the guard tells the user why. */
export function mayLeave(): boolean {
  guards.at(-1)?.ask();
  return guards.length === 0;
}

/** Whether the page may be left for a new sign-in, after which the draft of the open form comes back. */
export function mayLeaveWithDraft(): boolean {
  const guard = guards.findLast((one) => !one.isInDraft);
  guard?.ask();
  isLeaving = guard === undefined;
  return isLeaving;
}

/** After a redirect that did not take place. */
export function stay(): void {
  isLeaving = false;
}
