// Filters of lists. Their values are in the query of the place, so that a link to a place contains them.

import { useEffect, useState } from "preact/hooks";
import type { User } from "../api";
import { changeQuery } from "../route";
import { Field } from "./field";
import { PersonPicker, userTitle } from "./person";

const PAUSE_MS = 250;

/** A search field whose value is the parameter `q` of the place. */
export function SearchField({ label, placeholder, query }: { label: string; placeholder: string; query: URLSearchParams }) {
  const searched = query.get("q") ?? "";
  const [text, setText] = useState(searched);
  useEffect(() => {
    if (text.trim() !== searched) setText(searched);
  }, [searched]);
  useEffect(() => {
    if (text.trim() === searched) return;
    const timer = setTimeout(() => changeQuery({ q: text.trim() }), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return <input type="search" aria-label={label} placeholder={placeholder} value={text} onInput={(e) => setText(e.currentTarget.value)} />;
}

interface FilterProps {
  name: string;
  label: string;
  query: URLSearchParams;
}

interface ChoiceProps extends FilterProps {
  options: Record<string, string>;
  /** Other filters that a choice sets. */
  also?: Record<string, string>;
}

export function Choice({ name, label, options, query, also }: ChoiceProps) {
  return (
    <Field label={label}>
      {(props) => (
        <select {...props} value={query.get(name) ?? ""} onChange={(e) => changeQuery({ [name]: e.currentTarget.value, ...(e.currentTarget.value && also) })}>
          <option value="">Any</option>
          {Object.entries(options).map(([value, label]) => <option key={value} value={value}>{label}</option>)}
        </select>
      )}
    </Field>
  );
}

/** A field that filters when the user confirms the text. Until then, changes of the list do not remove the text. */
export function TextFilter({ name, label, query }: FilterProps) {
  const value = query.get(name) ?? "";
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const confirm = () => {
    setText(text.trim());
    changeQuery({ [name]: text.trim() });
  };
  return (
    <Field label={label}>
      {(props) => <input {...props} value={text} autocomplete="off" onInput={(e) => setText(e.currentTarget.value)} onChange={confirm} />}
    </Field>
  );
}

export function DayFilter({ name, label, query }: FilterProps) {
  return (
    <Field label={label}>
      {(props) => <input {...props} type="date" value={query.get(name) ?? ""} onChange={(e) => changeQuery({ [name]: e.currentTarget.value })} />}
    </Field>
  );
}

/** A button that removes filters. It disappears with them, so the view gets the focus. */
export function ClearFilters({ names, label = "Clear filters" }: { names: string[]; label?: string }) {
  const clear = (event: Event) => {
    (event.currentTarget as HTMLElement).closest<HTMLElement>("[data-focus]")?.focus();
    changeQuery(Object.fromEntries(names.map((name) => [name, undefined])));
  };
  return <button type="button" class="plain" onClick={clear}>{label}</button>;
}

/** A filter by a person. `prefix` precedes the person's id in the value. */
export function Person({ name, label, query, prefix }: FilterProps & { prefix: string }) {
  const value = query.get(name) ?? "";
  // The URL contains only the id.
  const [chosen, setChosen] = useState<User>();
  const id = value.startsWith(prefix) ? value.slice(prefix.length) : value;
  const pick = (user: User | undefined) => {
    setChosen(user);
    changeQuery({ [name]: user && prefix + user.id });
  };
  return (
    <Field label={label}>
      {(props) => <PersonPicker {...props} text={chosen && chosen.id === id ? userTitle(chosen) : id} placeholder="Name or e-mail" onPick={pick} />}
    </Field>
  );
}
