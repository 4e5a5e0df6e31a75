// Times in UTC, as the service stores them. The tooltip contains the user's local time.

const DAY = 86_400_000;

const utc = new Intl.DateTimeFormat("en-US", {
  timeZone: "UTC", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const weekday = new Intl.DateTimeFormat("en-US", {
  timeZone: "UTC", weekday: "long", year: "numeric", month: "short", day: "numeric",
});
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** A time, or `none` if there is no time. */
export function Time({ at, none = "–" }: { at: string | null; none?: string }) {
  if (!at) return <>{none}</>;
  const date = new Date(at);
  return <time dateTime={at} title={`Your time: ${local.format(date)}`}>{utc.format(date)} UTC</time>;
}

/** A day such as "Tuesday, Nov 26 2024", with the exact time in the tooltip. */
export function Day({ at }: { at: Date }) {
  const part = Object.fromEntries(weekday.formatToParts(at).map(({ type, value }) => [type, value]));
  return (
    <time dateTime={at.toISOString()} title={`${utc.format(at)} UTC. Your time: ${local.format(at)}`}>
      {`${part.weekday}, ${part.month} ${part.day} ${part.year}`}
    </time>
  );
}

export const inDays = (days: number) => new Date(Date.now() + days * DAY);

/** The UTC day of a time, as the value of a date input. */
export const isoDay = (date: Date) => date.toISOString().slice(0, 10);

/** The last second of a date input's day, in UTC. Undefined while the input is empty or incomplete. */
export function endOfDay(day: string): Date | undefined {
  const date = new Date(`${day}T23:59:59Z`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
