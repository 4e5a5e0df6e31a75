// The page: who is signed in, and which view is shown.

import { type ComponentChildren, type ComponentType, render } from "preact";
import { useCallback, useEffect, useErrorBoundary, useMemo, useRef, useState } from "preact/hooks";
import { Activity } from "./views/activity";
import { Api, ApiError, type Limits, type User, message } from "./api";
import { subscribe } from "./changes";
import { Clusters } from "./views/clusters";
import { SessionEnded } from "./parts/dialog";
import { OpenDialog, type Opened } from "./dialogs";
import { keepDraft, takeDraft } from "./dialogs/draft";
import { Icon } from "./parts/icons";
import { KeyPage } from "./views/key";
import { Keys } from "./views/keys";
import { SignInError, type Settings, type Tokens, beginSignIn, endSession, finishSignIn, isReturning, isSignedOut, loadSettings, mayBeSilent } from "./oidc";
import { ROLE_NAMES, can } from "./roles";
import { type Place, mayLeave, mayLeaveWithDraft, stay, usePlace } from "./route";
import { SessionContext } from "./session";
import { AnnouncementContext, Announcements } from "./parts/toast";
import { Users } from "./views/users";

const TOAST_MS = 6000;
/** How often statuses and times are updated. */
const TICK_MS = 30_000;
const SIGNED_OUT = "You are signed out of this page.";

const VIEWS: Record<string, { title: string; View: ComponentType<{ place: Place }> }> = {
  keys: { title: "Access Keys", View: KeysOrKey },
  users: { title: "User Management", View: Users },
  clusters: { title: "Clusters", View: Clusters },
  activity: { title: "Activity", View: Activity },
};

function explain(error: unknown): string {
  if (error instanceof DOMException && error.name === "SecurityError") return "This page needs session storage. Allow cookies and site data for this site, then reload the page.";
  return error instanceof SignInError ? error.message : message(error);
}

/** Tells the other windows of this browser that the user has signed out. */
const signOuts = new BroadcastChannel("access-keys.sign-out");

// The browser may restore the page in its state from before a sign-in or a sign-out.
addEventListener("pageshow", (event) => event.persisted && location.reload());

/** The service does not accept the account. */
class Refusal extends SignInError {}

type Me = User & { limits: Limits };

/** The directory's record of the user who has just signed in at the identity provider. */
async function whoAmI(token: string): Promise<Me> {
  try {
    return await new Api(token, () => {}).get<Me>("/v1/users/me");
  } catch (error) {
    if (!(error instanceof ApiError) || ![401, 403].includes(error.status)) throw error;
    if (error.status === 403) throw new Refusal(error.message);
    throw new Refusal("The service does not accept the identity provider's token. Ask its operator to check OidcIssuer, OidcAudience and TenantClaim.");
  }
}

function App() {
  const [settings, setSettings] = useState<Settings>();
  const [tokens, setTokens] = useState<Tokens>();
  const [me, setMe] = useState<Me>();
  const [isStarting, setStarting] = useState(true);
  const [error, setError] = useState<string>();
  const [isRefused, setRefused] = useState(false);
  const [note, setNote] = useState<string>();

  useEffect(() => {
    const start = async () => {
      const loaded = await loadSettings();
      setSettings(loaded);
      if (isReturning()) {
        const tokens = await finishSignIn(loaded);
        if (tokens) {
          setMe(await whoAmI(tokens.access));
          setTokens(tokens);
        }
      } else if (isSignedOut()) {
        setNote(SIGNED_OUT);
      } else if (isSecureContext && mayBeSilent()) {
        await beginSignIn(loaded, "none");
        return;
      }
      setStarting(false);
    };
    start().catch((failure) => {
      // The user must be able to choose another account.
      setRefused(failure instanceof Refusal);
      setError(explain(failure));
      setStarting(false);
    });
  }, []);
  useEffect(() => {
    signOuts.onmessage = () => {
      if (!mayLeave()) return;
      setTokens(undefined);
      setNote(SIGNED_OUT);
    };
  }, []);
  const signIn = async () => {
    setError(undefined);
    try {
      await beginSignIn(settings ?? (await loadSettings()), isRefused ? "login" : undefined);
    } catch (failure) {
      stay();
      setError(explain(failure));
    }
  };
  const signOut = async () => {
    if (!mayLeave() || !settings) return;
    const hint = tokens?.idHint;
    setTokens(undefined);
    setNote(SIGNED_OUT);
    signOuts.postMessage("signed out");
    if (!(await endSession(settings, hint))) setNote(`${SIGNED_OUT} Your session at the identity provider could not be ended. If others use this computer, sign out there too.`);
  };

  if (isStarting) return <main class="welcome"><p role="status">Loading…</p></main>;
  if (!tokens || !me) {
    return (
      <main class="welcome">
        <h1><Icon name="key" /> Access Keys</h1>
        <p>Create, rotate and revoke access keys for command lines, pipelines and cluster agents.</p>
        {note && <p key={note} class="notice" role="status">{note}</p>}
        {error && <p key={error} class="error" role="alert">{error}</p>}
        {isSecureContext
          ? <button type="button" class="primary" onClick={signIn}>Sign in</button>
          : <p class="error" role="alert">This page needs HTTPS, because the browser does not allow signing in and copying keys over plain HTTP. Open {`https://${location.host}/console`}, or ask the operator of this service for its HTTPS address.</p>}
      </main>
    );
  }
  return <SignedIn token={tokens.access} me={me} error={error} setMe={setMe} onSignIn={signIn} onSignOut={signOut} />;
}

interface SignedInProps {
  token: string;
  me: Me;
  /** Why a new sign-in could not begin. */
  error: string | undefined;
  setMe(me: Me): void;
  onSignIn(): void;
  onSignOut(): void;
}

function SignedIn({ token, me, error, setMe, onSignIn, onSignOut }: SignedInProps) {
  const place = usePlace();
  const name = Object.hasOwn(VIEWS, place.path[0] ?? "") ? place.path[0]! : "keys";
  useTick();
  const { title, View } = VIEWS[name]!;
  const [dialog, setDialog] = useState<Opened | undefined>(() => takeDraft(`${me.tenant_id} ${me.id}`));
  const [hasEnded, setEnded] = useState(false);
  const [toast, setToast] = useState("");
  const timer = useRef(0);
  const say = useCallback((text: string) => {
    clearTimeout(timer.current);
    setToast(text);
    timer.current = setTimeout(() => setToast(""), TOAST_MS);
  }, []);
  const api = useMemo(() => new Api(token, () => setEnded(true)), [token]);
  const session = useMemo(() => ({
    api, me, limits: me.limits, say, hasEnded,
    open: (dialog: Opened) => setDialog(dialog),
    signInAgain: () => {
      if (!mayLeaveWithDraft()) return;
      keepDraft(`${me.tenant_id} ${me.id}`);
      onSignIn();
    },
  }), [api, me, say, hasEnded]);
  useEffect(() => subscribe((change) => {
    if (change.what === "user" && change.user.id === me.id) setMe({ ...me, ...change.user });
  }), [me]);
  useEffect(() => {
    if (error) say(error);
  }, [error]);
  useNavigation(title, place);
  // When the guard lets the user leave a place, the dialog closes.
  const where = place.path.join("/");
  const before = useRef(where);
  useEffect(() => {
    if (before.current !== where) setDialog(undefined);
    before.current = where;
  }, [where]);
  return (
    <SessionContext.Provider value={session}>
      <AnnouncementContext.Provider value={toast}>
        <header class="top">
          <a class="brand" href="#keys"><Icon name="key" /> Access Keys</a>
          <nav aria-label="Views">
            {Object.entries(VIEWS).filter(([view]) => view !== "activity" || can(me, "audit:read")).map(([view, { title }]) => (
              <a key={view} href={`#${view}`} aria-current={view === name ? "page" : undefined}>{title}</a>
            ))}
          </nav>
          <div class="account">
            <span><b>{me.name ?? me.id}</b> <span key={me.role}>{ROLE_NAMES[me.role]}</span><span>, {me.tenant_id}</span></span>
            <button type="button" onClick={onSignOut}>Sign out</button>
          </div>
        </header>
        {!dialog && <SessionEnded />}
        <main><Boundary key={where}><View place={place} /></Boundary></main>
        {dialog && <OpenDialog key={JSON.stringify(dialog)} spec={dialog} onClose={() => setDialog(undefined)} />}
        <Announcements isShown={!dialog} />
      </AnnouncementContext.Provider>
    </SessionContext.Provider>
  );
}

/** Shows a message in the place of a view that has failed. The other views still work. */
function Boundary({ children }: { children: ComponentChildren }) {
  const [error] = useErrorBoundary();
  return error ? <p class="placeholder" role="alert">{message(error)}</p> : <>{children}</>;
}

/** Renders the page again from time to time, because keys expire while they are shown. */
function useTick(): void {
  const [, setTick] = useState(0);
  useEffect(() => {
    const tick = () => setTick((n) => n + 1);
    const timer = setInterval(tick, TICK_MS);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, []);
}

function KeysOrKey({ place }: { place: Place }) {
  const [, first, second] = place.path;
  if (first && second) return <KeyPage owner={first} id={second} />;
  if (first) return <KeyPage owner={undefined} id={first} />;
  return <Keys place={place} />;
}

/** Names the view in the window's title, and moves the focus to its heading when the user has changed the view. */
function useNavigation(title: string, { path }: Place): void {
  const isFirst = useRef(true);
  const where = path.join("/");
  useEffect(() => {
    document.title = `${title} · Access Keys`;
    if (!isFirst.current) document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true });
    isFirst.current = false;
    scrollTo(0, 0);
  }, [where]);
}

const root = document.getElementById("app");
if (root) render(<App />, root);
