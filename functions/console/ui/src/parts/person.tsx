// People: how they are named, and a field to choose one of them, as in the pattern "Combobox" of the ARIA Authoring
// Practices.

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { type Page, type Principal, type User, message } from "../api";
import { useSession } from "../session";
import { Time } from "./time";

const SHOWN = 8;
const PAUSE_MS = 200;

export const userName = (user: User) => user.name ?? user.id;

/** Distinguishes a user from others with the same name. */
export const userTitle = (user: User) => [userName(user), user.email ?? (user.name && user.id)].filter(Boolean).join(", ");

/** The facts by which an administrator recognises a user. */
export function WhichUser({ of: user }: { of: User }) {
  const { me } = useSession();
  return (
    <>
      <dl class="which">
        <div><dt>Name</dt><dd>{userName(user)}</dd></div>
        <div><dt>E-mail</dt><dd>{user.email ?? "–"}</dd></div>
        <div><dt>Id</dt><dd><code translate={false}>{user.id}</code></dd></div>
        <div><dt>Created</dt><dd><Time at={user.created_at} /></dd></div>
      </dl>
      {user.id === me.id && <p><b>This is your own account.</b></p>}
    </>
  );
}

/** Who has done something. */
export function Who({ is: { kind, id } }: { is: Principal }) {
  const { me } = useSession();
  return <span>{kind === "user" ? (id === me.id ? "you" : id) : `${kind} ${id}`}</span>;
}

interface PickerProps {
  id?: string;
  "aria-label"?: string;
  "aria-describedby"?: string;
  "aria-invalid"?: boolean;
  placeholder?: string;
  autofocus?: boolean;
  /** What the field shows at first. */
  text: string;
  onPick(user: User | undefined): void;
}

/** A field that searches users by the beginning of their names and e-mail addresses. */
export function PersonPicker({ text, onPick, ...props }: PickerProps) {
  const { api } = useSession();
  const list = useId();
  const [typed, setTyped] = useState(text);
  const [search, setSearch] = useState("");
  const [found, setFound] = useState<User[]>();
  const [problem, setProblem] = useState("");
  const [at, setAt] = useState(-1);
  const box = useRef<HTMLDivElement>(null);
  const isTyping = useRef(false);
  useEffect(() => {
    if (!isTyping.current) setTyped(text);
  }, [text]);
  useEffect(() => box.current?.querySelector("[aria-selected='true']")?.scrollIntoView({ block: "nearest" }), [at]);
  useEffect(() => {
    setFound(undefined);
    setProblem("");
    setAt(-1);
    if (!search.trim()) return;
    const aborter = new AbortController();
    const query = new URLSearchParams({ q: search, limit: String(SHOWN) });
    const timer = setTimeout(() => {
      api.get<Page<User>>(`/v1/users?${query}`, aborter.signal).then(
        (answer) => setFound(answer.items),
        (failure) => aborter.signal.aborted || setProblem(message(failure)),
      );
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      aborter.abort();
    };
  }, [api, search]);
  const isOpen = found !== undefined || problem !== "";
  const pick = (user: User) => {
    isTyping.current = false;
    setTyped(userTitle(user));
    setSearch("");
    onPick(user);
  };
  const close = () => {
    setSearch("");
    setFound(undefined);
  };
  const leave = () => {
    isTyping.current = false;
    close();
  };
  const press = (event: KeyboardEvent) => {
    if (event.isComposing) return;
    const chosen = found?.[at];
    if (event.key === "Escape" && isOpen) close();
    else if (event.key === "Enter" && chosen) pick(chosen);
    else if (event.key === "ArrowDown" && found) setAt(Math.min(at + 1, found.length - 1));
    else if (event.key === "ArrowUp" && found) setAt(Math.max(at - 1, 0));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="picker" ref={box} onFocusOut={(event) => box.current?.contains(event.relatedTarget as Node) || leave()}>
      <input
        {...props}
        role="combobox"
        aria-expanded={isOpen}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={at >= 0 ? `${list}-${at}` : undefined}
        autocomplete="off"
        spellcheck={false}
        value={typed}
        onInput={({ currentTarget: { value } }) => {
          isTyping.current = true;
          setTyped(value);
          setSearch(value);
          onPick(undefined);
        }}
        onKeyDown={press}
      />
      <div id={list} role="listbox" aria-label="People" class="suggestions" hidden={!isOpen}>
        {found?.map((user, n) => (
          <div key={user.id} id={`${list}-${n}`} role="option" aria-selected={n === at} onPointerDown={(event) => event.preventDefault()} onClick={() => pick(user)}>
            <b>{userName(user)}</b> <small>{user.email ?? user.id}</small>
          </div>
        ))}
        {found?.length === 0 && <p class="hint" role="status">No user's name or e-mail address begins with this text.</p>}
        {problem && <p class="error" role="alert">{problem}</p>}
      </div>
    </div>
  );
}
