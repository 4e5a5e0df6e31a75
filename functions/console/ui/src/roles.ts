// The names of roles, and which roles a user may assign. The API enforces this, and the page hides what the API would
// refuse.

import type { Key, KeyRole, Permission, User, UserRole } from "./api";

export const ROLE_NAMES: Record<KeyRole, string> = {
  viewer: "Viewer",
  cluster_onboarding: "Cluster Onboarding",
  editor: "Editor",
  admin: "Admin",
};

export const USER_ROLES: UserRole[] = ["viewer", "editor", "admin"];

/** The names of the roles of users, without the role that only keys have. */
export const userRoleNames = Object.fromEntries(USER_ROLES.map((role) => [role, ROLE_NAMES[role]]));

/** What a key or a user with the role can do, as the continuation of "can …". */
export const ROLE_POWERS: Record<KeyRole, string> = {
  viewer: "read findings and clusters",
  cluster_onboarding: "onboard clusters and nothing else",
  editor: "read findings, onboard and delete clusters, run workflows and manage bundles",
  admin: "do everything, including the management of users and keys",
};

const WITHIN: Record<KeyRole, KeyRole[]> = {
  viewer: ["viewer"],
  cluster_onboarding: ["cluster_onboarding"],
  editor: ["viewer", "cluster_onboarding", "editor"],
  admin: ["viewer", "cluster_onboarding", "editor", "admin"],
};

/** The roles that a key may have. They exceed neither the role of its creator nor that of its owner. */
export function keyRoles(maker: User, owner: Pick<User, "role">): KeyRole[] {
  return WITHIN[maker.role].filter((role) => WITHIN[owner.role].includes(role));
}

/** The roles with which a key can be rotated. They do not exceed its own. */
export const rolesWithin = (maker: User, key: Key) => WITHIN[maker.role].filter((role) => WITHIN[key.role].includes(role));

export const canOnboard = (role: KeyRole) => WITHIN[role].includes("cluster_onboarding");

const PERMISSIONS: Record<Permission, string> = {
  "cspm:read": "Read cloud security posture",
  "cwpp:read": "Read workload protection",
  "aspm:read": "Read application security posture",
  "clusters:read": "See clusters and nodes",
  "clusters:onboard": "Onboard clusters and nodes",
  "clusters:manage": "Delete clusters",
  "workflows:run": "Run workflows from the command line",
  "bundles:manage": "Manage bundles from the command line",
  "access-keys:manage": "Manage the access keys of others",
  "users:manage": "Manage users",
  "audit:read": "Read the audit trail",
};

export function permissions(user: User): { name: string; meaning: string }[] {
  return (user.scope.split(" ") as Permission[]).map((name) => ({ name, meaning: PERMISSIONS[name] ?? name }));
}

export function can(user: User, permission: Permission): boolean {
  return user.scope.split(" ").includes(permission);
}
