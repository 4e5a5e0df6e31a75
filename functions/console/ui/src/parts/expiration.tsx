// The field "Expiration": a preset or a time, within the limits of the deployment.

import type { Limits } from "../api";
import { type Errors, Field, Required } from "./field";
import { Moment, duration, fromInput, inSeconds, toInput } from "./time";

const DAY = 86_400;
const PRESETS = [7, 15, 30];

export interface Expiration {
  /** Days, or `custom`. */
  choice: number | "custom";
  /** The value of the input for a custom time, in UTC. */
  at: string;
}

const isAllowed = ({ min_expiry_seconds: min, max_expiry_seconds: max }: Limits, seconds: number) => seconds >= min && seconds <= max;

/** 30 days, or what the deployment allows instead. */
export function firstExpiration(limits: Limits): Expiration {
  const seconds = limits.default_expiry_seconds;
  const at = toInput(inSeconds(seconds), seconds < limits.max_expiry_seconds ? "up" : "down");
  const choice = isAllowed(limits, 30 * DAY) ? 30 : (PRESETS.findLast((days) => isAllowed(limits, days * DAY)) ?? "custom");
  return { choice, at };
}

const expiresAt = ({ choice, at }: Expiration) => (choice === "custom" ? fromInput(at) : inSeconds(choice * DAY));

/** The fields of the request. */
export function expirationRequest(expiration: Expiration): { expires_in_days: number } | { expires_at: string } {
  const { choice } = expiration;
  return choice === "custom" ? { expires_at: expiresAt(expiration)?.toISOString() ?? "" } : { expires_in_days: choice };
}

/** Why the service would refuse the expiration. */
export function expirationError(limits: Limits, { choice, at }: Expiration): string | undefined {
  if (choice !== "custom") return undefined;
  const time = fromInput(at);
  if (!time) return "Choose a day and a time.";
  const seconds = (time.getTime() - Date.now()) / 1000;
  if (seconds <= 0) return "Choose a time in the future. This one is in the past.";
  if (seconds < limits.min_expiry_seconds) return `A key must be valid for at least ${duration(limits.min_expiry_seconds)}.`;
  if (seconds > limits.max_expiry_seconds) return `A key can be valid for at most ${duration(limits.max_expiry_seconds)}.`;
  return undefined;
}

interface Props {
  limits: Limits;
  value: Expiration;
  errors: Errors;
  onChange(value: Expiration): void;
}

export function ExpirationField({ limits, value, errors, onChange }: Props) {
  const time = expiresAt(value);
  const [first, last] = [inSeconds(limits.min_expiry_seconds), inSeconds(limits.max_expiry_seconds)];
  const error = value.choice === "custom" ? (expirationError(limits, value) ?? errors.expires_at) : (errors.expires_in_days ?? errors.expires_at);
  const isLimited = PRESETS.some((days) => !isAllowed(limits, days * DAY));
  return (
    <fieldset>
      <legend>Expiration <Required /></legend>
      <div class="choices">
        {[...PRESETS, "custom" as const].map((choice) => (
          <label key={choice}>
            <input
              type="radio"
              name="expiration"
              checked={value.choice === choice}
              disabled={choice !== "custom" && !isAllowed(limits, choice * DAY)}
              onChange={() => onChange({ ...value, choice })}
            />
            <span>{choice === "custom" ? "Custom" : `${choice} Days`}</span>
          </label>
        ))}
      </div>
      {isLimited && <p class="hint">This deployment allows {duration(limits.min_expiry_seconds)} to {duration(limits.max_expiry_seconds)}.</p>}
      {value.choice === "custom" && (
        <Field label="Expires at (UTC)" isRequired error={error}>
          {(props) => (
            <input
              {...props}
              type="datetime-local"
              value={value.at}
              min={toInput(first, "up")}
              max={toInput(last)}
              onInput={(e) => onChange({ ...value, at: e.currentTarget.value })}
              required
            />
          )}
        </Field>
      )}
      {value.choice !== "custom" && error && <p class="error" role="alert">{error}</p>}
      {time && !error && <p class="hint" aria-live="polite"><span>This key will expire on </span><Moment at={time} /><span>.</span></p>}
    </fieldset>
  );
}
