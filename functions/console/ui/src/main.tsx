// The page: who is signed in, and which view is shown.

import { render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Api, ApiError, type User, message } from "./api";
import { Clusters } from "./clusters";
import { SignInError, type Settings, beginSignIn, finishSignIn, isReturning, loadSettings } from "./oidc";
import { ROLE_NAMES } from "./roles";
import { SessionContext } from "./session";
import { AnnouncementContext, Announcements } from "./toast";
import { Users } from "./users";

const TOAST_MS = 6000;
const VIEWS = { users: { title: "User Management", View: Users }, clusters: { title: "Clusters", View: Clusters } };

const explain = (error: unknown) => (error instanceof SignInError ? error.message : message(error));

/** The directory's record of the user who has just signed in at the identity provider. */
async function whoAmI(token: string): Promise<User> {
  try {
    return await new Api(token, () => {}).get<User>("/v1/users/me");
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    throw new SignInError("The service does not accept the identity provider's token. Ask its operator to check OidcIssuer, OidcAudience and TenantClaim.");
  }
}

function App() {
  const [settings, setSettings] = useState<Settings>();
  const [token, setToken] = useState<string>();
  const [me, setMe] = useState<User>();
  const [hasEnded, setEnded] = useState(false);
  const [isStarting, setStarting] = useState(true);
  const [error, setError] = useState<string>();
  const api = useMemo(() => new Api(token ?? "", () => setEnded(true)), [token]);

  const attempt = (step: () => Promise<void>) => step().catch((failure) => setError(explain(failure)));
  useEffect(() => {
    attempt(async () => {
      const loaded = await loadSettings();
      setSettings(loaded);
      if (!isReturning()) return;
      const token = await finishSignIn(loaded);
      setMe(await whoAmI(token));
      setToken(token);
    }).finally(() => setStarting(false));
  }, []);
  const signIn = () => attempt(async () => {
    setError(undefined);
    await beginSignIn(settings ?? (await loadSettings()));
  });

  if (isStarting) return <main class="welcome"><p role="status">Loading…</p></main>;
  if (!token || !me) {
    return (
      <main class="welcome">
        <h1>Access Keys</h1>
        <p>Give users keys for command lines, pipelines and cluster agents, and take them away.</p>
        {error && <p class="error" role="alert">{error}</p>}
        <button type="button" class="primary" onClick={signIn}>Sign in</button>
      </main>
    );
  }
  return <SignedIn api={api} me={me} setMe={setMe} hasEnded={hasEnded} onSignIn={signIn} />;
}

interface SignedInProps {
  api: Api;
  me: User;
  setMe(me: User): void;
  hasEnded: boolean;
  onSignIn(): void;
}

function SignedIn({ api, me, setMe, hasEnded, onSignIn }: SignedInProps) {
  const view = useView();
  const [toast, setToast] = useState("");
  const timer = useRef(0);
  const say = useCallback((text: string) => {
    clearTimeout(timer.current);
    setToast(text);
    timer.current = setTimeout(() => setToast(""), TOAST_MS);
  }, []);
  const session = useMemo(() => ({ api, me, setMe, say }), [api, me, setMe, say]);
  const { title, View } = VIEWS[view];
  useEffect(() => {
    document.title = `${title} · Access Keys`;
  }, [title]);
  return (
    <SessionContext.Provider value={session}>
      <AnnouncementContext.Provider value={toast}>
        <header class="top">
          <b class="brand">Access Keys</b>
          <nav aria-label="Views">
            {Object.entries(VIEWS).map(([name, { title }]) => (
              <a key={name} href={`#${name}`} aria-current={name === view ? "page" : undefined}>{title}</a>
            ))}
          </nav>
          <div class="account">
            <span>{me.name ?? me.id} · {ROLE_NAMES[me.role]} · {me.tenant_id}</span>
            <button type="button" onClick={() => location.reload()}>Sign out</button>
          </div>
        </header>
        {hasEnded && (
          <div class="banner" role="alert">
            <p>Your session has ended.</p>
            <button type="button" class="primary" onClick={onSignIn}>Sign in again</button>
          </div>
        )}
        <main><View key={view} /></main>
        <Announcements />
      </AnnouncementContext.Provider>
    </SessionContext.Provider>
  );
}

/** The view that the fragment of the URL names. */
function useView(): keyof typeof VIEWS {
  const read = () => (location.hash === "#clusters" ? "clusters" : "users");
  const [view, setView] = useState<keyof typeof VIEWS>(read);
  useEffect(() => {
    const follow = () => setView(read());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return view;
}

const root = document.getElementById("app");
if (root) render(<App />, root);
