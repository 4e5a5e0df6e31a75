// The current status of a key, in words.

import type { Key } from "../api";
import { ROLE_NAMES } from "../roles";
import { Status, type Tone } from "./table";
import { Ago, Time, secondsUntil } from "./time";

const DAY = 86_400;

export function standing(key: Key): { text: string; tone: Tone } {
  if (key.status === "revoked") return { text: "Revoked", tone: "over" };
  if (key.status === "expired" || secondsUntil(key.expires_at) <= 0) return { text: "Expired", tone: "over" };
  if (key.owner_status === "inactive") return { text: "Suspended: owner deactivated", tone: "bad" };
  if (key.owner_status !== "active") return { text: "Suspended: owner deleted", tone: "bad" };
  if (!key.effective_role) return { text: `Suspended: the owner's role excludes ${ROLE_NAMES[key.role]}`, tone: "bad" };
  return { text: "Active", tone: "good" };
}

export const isLive = (key: Key) => standing(key).tone !== "over";

export function Standing({ of: key }: { of: Key }) {
  const { text, tone } = standing(key);
  return <Status of={text} tone={tone} />;
}

/** The role, and its current limit if the owner has been demoted. */
export function Role({ of: key }: { of: Key }) {
  const isLimited = key.effective_role !== null && key.effective_role !== key.role;
  const text = isLimited ? `${ROLE_NAMES[key.role]} key, limited to ${ROLE_NAMES[key.effective_role!]}` : ROLE_NAMES[key.role];
  return <span key={text} class={isLimited ? "warn-text" : undefined}>{text}</span>;
}

/** When the key expires: amber within 7 days, red within 1. */
export function Expiry({ of: key }: { of: Key }) {
  const left = secondsUntil(key.expires_at);
  const tone = !isLive(key) || left > 7 * DAY ? undefined : left > DAY ? "warn-text" : "bad-text";
  return <><b class={tone}><Ago at={key.expires_at} none="" /></b><br /><small><Time at={key.expires_at} /></small></>;
}

export const ownerName = (key: Key) => key.owner_name ?? key.user_id;

/** The end of the id. Its beginning is the time of creation, which keys of one batch have in common. */
export const shortId = (key: { id: string }) => key.id.slice(-8);

/** Distinguishes a key from others with the same name. */
export const keyTitle = (key: Key) => `${key.name} (${shortId(key)}) of ${key.owner_email ?? ownerName(key)}`;

/** The facts by which a user recognises a key. */
export function WhichKey({ of: key }: { of: Key }) {
  return (
    <dl class="which">
      <div><dt>Access key</dt><dd>{key.name}</dd></div>
      <div><dt>Owner</dt><dd>{ownerName(key)}<br /><small>{key.owner_email ?? (key.owner_name ? key.user_id : "")}</small></dd></div>
      <div><dt>Id</dt><dd><code translate={false}>…{shortId(key)}</code></dd></div>
      <div><dt>Created</dt><dd><Time at={key.created_at} /></dd></div>
    </dl>
  );
}
