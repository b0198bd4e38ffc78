// The connected accounts, those in trouble first, and accounts that people write to unconnected.

import { html, useChanges, useEffect, useRef, useState } from "./preact.js";
import * as api from "./api.js";
import { AliasDialog, ConnectDialog, EditDialog, RemoveDialog, TokenDialog } from "./account-dialogs.js";
import { retryFailed } from "./backfill.js";
import { Badge, Empty, Field, Note, Time, announce } from "./parts.js";
import { accountName, cure, plural, reasonSays } from "./words.js";

const [FEW, MOST_CARDS, MOST_LINES] = [8, 30, 200];
const SOON_MS = 14 * 86_400_000;
const ORDER = { bad: 0, warn: 1, quiet: 2, good: 3 };
const DIALOGS = { connect: ConnectDialog, alias: AliasDialog, token: TokenDialog, edit: EditDialog, remove: RemoveDialog };

// `asked` is an account's id, which then stands alone until the search is emptied.
export function Accounts({ live, asked }) {
  useChanges(live);
  const [wanted, setWanted] = useState(asked);
  const [dialog, setDialog] = useState(null);
  useEffect(() => setWanted(asked), [asked]);
  const { connections } = live;
  const rows = connections ? judged(live) : [];
  const fitting = rows.filter((row) => fits(row, wanted));
  const troubled = rows.filter(({ kind }) => kind === "bad" || kind === "warn").length;
  const open = (name, account) => setDialog({ name, account });
  const Shown = dialog && DIALOGS[dialog.name];
  return html`
    <div class="view-head">
      <h2 tabindex="-1">Accounts</h2>
      <button onClick=${() => open("connect", {})}>Connect an account …</button>
    </div>
    ${connections?.length > 0 && html`
      <div class="search-line">
        <${Search} wanted=${wanted} onSearch=${setWanted} />
        <p class="hint" role="status">${plural(connections.length, "account")},
          ${troubled ? ` ${troubled} to look at` : " none to look at"}${wanted ? `; ${fitting.length} shown` : ""}</p>
      </div>`}
    ${connections === null
      ? html`<${Empty}>${live.trouble || live.status?.postgres === "unavailable"
          ? "The accounts can't be read right now." : "Reading the accounts …"}<//>`
      : rows.length === 0
        ? html`<${Empty}>No account is connected yet.<//>`
        : fitting.length === 0
          ? html`<${Empty}>No account fits “${wanted}”.<//>`
          : html`<${Rows} rows=${fitting} live=${live} open=${open} />`}
    ${Shown && html`<${Shown} live=${live} account=${dialog.account} onClose=${() => setDialog(null)} />`}
  `;
}

// Cards for those that somebody has to look at, or for a few; lines for the others.
function Rows({ rows, live, open }) {
  const isCard = ({ kind }, n) => kind === "bad" || kind === "warn" || rows.length <= FEW || (n === 0 && rows.length === 1);
  const [cards, lines] = [rows.filter(isCard), rows.filter((row, n) => !isCard(row, n))];
  const shown = lines.slice(0, MOST_LINES);
  return html`
    ${cards.length > 0 && html`<ul class="cards">${cards.slice(0, MOST_CARDS).map((row) => html`
      <${Account} key=${row.account.igAccountId} row=${row} live=${live} open=${open} />`)}</ul>`}
    ${shown.length > 0 && html`<ul class="panel rows lines">${shown.map((row) => html`
      <${Line} key=${row.account.igAccountId} row=${row} live=${live} open=${open} />`)}</ul>`}
    ${rows.length > MOST_CARDS + MOST_LINES && html`<p class="foot">Not all are shown: search for the others.</p>`}
  `;
}

function Line({ row: { account, kind, says, todo }, live, open }) {
  return html`
    <li>
      <div class="line-name"><b>${accountName(account)}</b><small class="id">${account.igAccountId} · ${account.locationId}</small></div>
      <small class="line-todo">${lastHour(account, live)}. ${todo}</small>
      <${Badge} kind=${kind}>${says}<//>
      <div class="line-actions"><${Actions} account=${account} kind=${kind} live=${live} open=${open} /></div>
    </li>
  `;
}

function lastHour({ igAccountId }, live) {
  const recent = live.status?.recent.accounts.find((each) => each.igAccountId === igAccountId);
  return recent ? `${recent.named} of ${recent.wrote} named in the last hour` : "Nobody among the latest writers";
}

function Search({ wanted, onSearch }) {
  const input = useRef(null);
  return html`
    <${Field} label="Search">
      <input ref=${input} type="search" value=${wanted} autocomplete="off" spellcheck="false"
        placeholder="@name, id or location" onInput=${(event) => onSearch(event.target.value)} />
    <//>
  `;
}

function fits({ account }, wanted) {
  const text = wanted.trim().toLowerCase();
  const { igAccountId, username, locationId, aliasIds } = account;
  const names = [igAccountId, username ?? "", username ? `@${username}` : "", locationId ?? "", ...aliasIds];
  return names.some((name) => name.toLowerCase().includes(text));
}

// Every account with its condition, the worst first; accounts that nobody connected too.
function judged(live) {
  const strangers = (live.status?.pauses ?? [])
    .filter(({ scope, reason }) => reason === "no_connection" && scope !== "app")
    .map(({ scope }) => scope.replace("account:", ""))
    .filter((igAccountId) => !live.connection(igAccountId))
    .map((igAccountId) => ({ igAccountId, aliasIds: [], isStranger: true }));
  return [...strangers, ...live.connections]
    .map((account) => ({ account, ...condition(account, live) }))
    .sort((a, b) => ORDER[a.kind] - ORDER[b.kind] || accountName(a.account).localeCompare(accountName(b.account)));
}

// The state of an account, and what somebody should do.
function condition(account, live) {
  const { igAccountId, isStranger, tokenStatus, pauseReason, pausedUntil } = account;
  if (isStranger) return { kind: "bad", says: "Not connected", todo: `People write to this account, and nobody has connected it. ${cure("no_connection")}` };
  const reason = pauseReason ?? (tokenStatus === "invalid" ? "token_invalid" : null);
  if (reason) return paused(reason, pausedUntil);
  const cause = live.status?.verdict.causes.find((each) => each.igAccountId === igAccountId && each.level !== "ok");
  if (cause) {
    const kind = cause.level === "broken" ? "bad" : "warn";
    return { kind, says: kind === "bad" ? "Nobody gets a name" : "Look at it", todo: [cause.text, cause.likely, cause.cure].filter(Boolean).join(" ") };
  }
  return tested(account);
}

function paused(reason, pausedUntil) {
  const until = pausedUntil && html`Paused until <${Time} at=${pausedUntil} />. `;
  const todo = html`${reasonSays(reason)}. ${until}${cure(reason)}`;
  const says = { token_invalid: "Token refused", permission: "Permission missing", policy_block: "Blocked by Meta", bad_request: "Requests refused" }[reason];
  return says ? { kind: "bad", says, todo } : { kind: "warn", says: "Paused", todo };
}

// A token works if Meta has accepted it since it was stored; otherwise nobody knows yet.
function tested({ updatedAt, tokenCheckedAt, lastNamedAt, tokenExpiresAt, dataAccessExpiresAt }) {
  const ends = [tokenExpiresAt, dataAccessExpiresAt].filter(Boolean).sort()[0];
  if (ends && Date.parse(ends) - Date.now() < SOON_MS) {
    return { kind: "warn", says: "Token ends soon", todo: html`It ends <${Time} at=${ends} isRelative />, on <${Time} at=${ends} />. Get a new one from Meta and replace it.` };
  }
  const since = Date.parse(updatedAt);
  if (lastNamedAt && Date.parse(lastNamedAt) >= since) {
    return { kind: "good", says: "Works", todo: html`The latest name came <${Time} at=${lastNamedAt} isRelative />; there is nothing to do.` };
  }
  if (tokenCheckedAt && Date.parse(tokenCheckedAt) >= since) {
    return { kind: "good", says: "Token accepted", todo: html`Meta accepted the token <${Time} at=${tokenCheckedAt} isRelative />; no name has been needed since.` };
  }
  return { kind: "quiet", says: "Not tested yet", todo: "Nobody has used this token yet: it is tested when somebody writes." };
}

function Account({ row: { account, kind, says, todo }, live, open }) {
  const { igAccountId, isStranger } = account;
  const named = account.username ? `@${account.username}` : isStranger ? "Unknown account" : "Account";
  return html`
    <li class="panel account">
      <header class="panel-head">
        <h3>${named}<small class="id">${igAccountId}</small></h3>
        <${Badge} kind=${kind}>${says}<//>
      </header>
      <p class="todo">${todo}</p>
      ${!isStranger && html`<${Facts} account=${account} live=${live} />`}
      <footer class="actions">
        ${isStranger
          ? html`
            <button class="primary" onClick=${() => open("connect", account)} aria-label="Connect ${igAccountId}">Connect …</button>
            <button onClick=${() => open("alias", account)} aria-label="Make ${igAccountId} another id of an account">Another id of …</button>`
          : html`<${Actions} account=${account} kind=${kind} live=${live} open=${open} />`}
      </footer>
    </li>
  `;
}

function Facts({ account, live }) {
  return html`
    <dl class="facts">
      <div><dt>Location</dt><dd>${account.locationId}</dd></div>
      <div><dt>Login</dt><dd>${account.login === "instagram" ? "Instagram" : "Facebook"}</dd></div>
      <div><dt>Latest writers</dt><dd>${lastHour(account, live)}</dd></div>
      <div><dt>Token stored</dt><dd><${Time} at=${account.updatedAt} />${account.isPlain ? ", not encrypted" : ""}</dd></div>
      ${account.aliasIds.length > 0 && html`<div class="wide"><dt>Other ids</dt><dd class="id">${account.aliasIds.join(", ")}</dd></div>`}
    </dl>
  `;
}

function Actions({ account, kind, live, open }) {
  const { igAccountId, locationId, pauseReason, tokenStatus } = account;
  const [trouble, setTrouble] = useState(null);
  const name = accountName(account);
  const lift = async () => {
    try {
      await api.erase(`pauses/account:${igAccountId}`);
      await live.readConnections();
      announce(`The pause of ${name} is lifted.`);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    }
  };
  const isPaused = pauseReason || tokenStatus === "invalid";
  return html`
    ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
    <button class=${kind === "bad" ? "primary" : ""} onClick=${() => open("token", account)} aria-label="Replace the token of ${name}">Replace token …</button>
    ${isPaused && html`<button onClick=${lift} aria-label="Lift the pause of ${name} and try now">Lift the pause</button>`}
    ${!isPaused && kind !== "good" && kind !== "quiet" && html`
      <button onClick=${() => retryFailed(locationId)} aria-label="Try the people of ${name} now">Try now</button>`}
    <button onClick=${() => open("edit", account)} aria-label="Edit ${name}">Edit …</button>
    <button class="danger" onClick=${() => open("remove", account)} aria-label="Remove ${name}">Remove …</button>
  `;
}
