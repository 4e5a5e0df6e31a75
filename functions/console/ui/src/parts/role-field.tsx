// The field "Role" of a key.

import type { KeyRole } from "../api";
import { ROLE_NAMES, ROLE_POWERS } from "../roles";
import { Field } from "./field";
import { Text } from "./text";

interface RoleFieldProps {
  roles: KeyRole[];
  value: KeyRole;
  error?: string | undefined;
  onChange(role: KeyRole): void;
}

/** A field to choose the role of a key. It says what the role permits. */
export function RoleField({ roles, value, error, onChange }: RoleFieldProps) {
  return (
    <>
      <Field label="Role" isRequired error={error} hint={<Text of={`A key with this role can ${ROLE_POWERS[value]}.`} />}>
        {(props) => (
          <select {...props} value={value} onChange={(e) => onChange(e.currentTarget.value as KeyRole)}>
            {roles.map((one) => <option key={one} value={one}>{ROLE_NAMES[one]}</option>)}
          </select>
        )}
      </Field>
      {value === "admin" && <p class="notice warn" role="status">Anyone with this key can do nearly anything in the tenant. Keep it private, and prefer a role with fewer permissions.</p>}
    </>
  );
}
