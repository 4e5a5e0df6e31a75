// Times and durations in words. Exact times are in UTC, as the service stores them, and in the user's time zone.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const utc = new Intl.DateTimeFormat("en-US", {
  timeZone: "UTC", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const weekday = new Intl.DateTimeFormat("en-US", {
  timeZone: "UTC", weekday: "long", year: "numeric", month: "short", day: "numeric",
});
const clock = new Intl.DateTimeFormat("en-US", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const local = new Intl.DateTimeFormat("en-US", {
  weekday: "long", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short",
});
const ZONE = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const isUtc = ZONE === "UTC" || ZONE === "Etc/UTC";

/** A time to the minute, or `none` if there is no time. */
export function Time({ at, none = "–" }: { at: string | null | undefined; none?: string }) {
  if (!at) return <span key={none}>{none}</span>;
  return <time key={at} dateTime={at}>{utc.format(new Date(at))} UTC</time>;
}

/** "in 6 days" or "2 hours ago", with the exact time in the tooltip. */
export function Ago({ at, none }: { at: string | null; none: string }) {
  if (!at) return <span key={none}>{none}</span>;
  const text = relative(new Date(at));
  return <time key={text} dateTime={at} title={`${utc.format(new Date(at))} UTC`}>{text}</time>;
}

const words = new Intl.RelativeTimeFormat("en-US", { numeric: "always" });

function relative(at: Date): string {
  const milliseconds = at.getTime() - Date.now();
  const [unit, size] = ([["day", DAY], ["hour", HOUR]] as const).find(([, size]) => Math.abs(milliseconds) >= 0.99 * size) ?? (["minute", MINUTE] as const);
  // Rounded down, so that it is never more than what is left. The 0.01 makes up for the seconds since an expiry of
  // whole days or hours was set.
  return words.format(Math.trunc(milliseconds / size + Math.sign(milliseconds) * 0.01) || Math.sign(milliseconds), unit);
}

/** A day and time such as "Tuesday, Nov 26 2024, 09:30 UTC", and the same moment in the user's time zone. */
export function Moment({ at }: { at: Date }) {
  const part = Object.fromEntries(weekday.formatToParts(at).map(({ type, value }) => [type, value]));
  const text = `${part.weekday}, ${part.month} ${part.day} ${part.year}, ${clock.format(at)} UTC`;
  return (
    <span key={text}>
      <time dateTime={at.toISOString()}>{text}</time>
      {!isUtc && ` (${local.format(at)} in your time zone)`}
    </span>
  );
}

export const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000);
export const secondsUntil = (at: string) => (new Date(at).getTime() - Date.now()) / 1000;

/** "2 hours", "30 days": the largest unit that divides the duration. */
export function duration(seconds: number): string {
  const [size, unit] = ([[86_400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]] as const).find(([size]) => seconds % size === 0) ?? [1, "second"];
  return `${seconds / size} ${unit}${seconds === size ? "" : "s"}`;
}

/** A time as the value of an input for date and time in UTC: the minute that contains it, or the next one. */
export const toInput = (at: Date, rounding: "down" | "up" = "down") => new Date(at.getTime() + (rounding === "up" ? MINUTE - 1 : 0)).toISOString().slice(0, 16);

/** The time in an input for date and time in UTC. Undefined while the input is empty or incomplete. */
export function fromInput(value: string): Date | undefined {
  const at = new Date(`${value}Z`);
  return value === "" || Number.isNaN(at.getTime()) ? undefined : at;
}
