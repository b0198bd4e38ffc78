// What codes, times and numbers mean, in words.

const LOCALE = "en-GB";
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
/** @type {[number, Intl.RelativeTimeFormatUnit, number][]} */
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86_400, "hour", 3600], [Infinity, "day", 86_400]];
const FOR_EVER_FROM_YEAR = 9000;

// Why a call brought no name, in a sentence and in two words, and whose affair that is.
const REASONS = {
  consent_required: { says: "Meta says this person has not consented", short: "no consent", whose: "the person" },
  not_found: { says: "Meta does not know this person", short: "not known to Meta", whose: "the person" },
  refused: { says: "Meta refuses this person's profile", short: "refused by Meta", whose: "the person" },
  timeout: { says: "Meta did not answer in time", short: "no answer in time", whose: "nobody" },
  upstream_error: { says: "Meta answered with an error", short: "Meta's error", whose: "nobody" },
  token_invalid: { says: "Meta refuses the account's token", short: "token refused", whose: "the account" },
  permission: { says: "The account's token lacks a permission", short: "permission missing", whose: "the account" },
  no_connection: { says: "The account is not connected", short: "not connected", whose: "the account" },
  policy_block: { says: "Meta has blocked the account for a breach of its policies", short: "blocked by Meta", whose: "the account" },
  throttled: { says: "Meta asks us to call less often", short: "Meta's limit", whose: "the app" },
  outage: { says: "Meta's Graph API is failing", short: "Meta is failing", whose: "Meta" },
  bad_request: { says: "Meta calls our requests wrong", short: "our request is wrong", whose: "the account or the service" },
};

// What a pause means for an operator.
const CURES = {
  token_invalid: "Make a new long-lived token for the account and replace this one. Names follow at once; nothing is lost meanwhile.",
  permission: "Log the account in again with instagram_basic and instagram_manage_messages granted, and replace the token. One call looks now and then whether it works again.",
  no_connection: "Connect it, or make it another id of an account that is connected. Its people then get their names at once.",
  policy_block: "Waiting does not help: see the account's Support Inbox at Meta and resolve the block there. Then lift the pause.",
  throttled: "Calls go on by themselves when the pause ends. If it happens often, lower GRAPH_CALLS_PER_SECOND.",
  outage: "There is nothing to do: one call looks now and then whether Meta is back, and then everything goes on.",
  bad_request: "Check GRAPH_API_VERSION, GRAPH_BASE_URL and META_APP_SECRETS; the log has Meta's words. If one account alone is paused, its token is of another app: replace it.",
};

export const OF_ACCOUNTS = new Set([
  "token_invalid", "permission", "no_connection", "policy_block", "throttled", "outage", "bad_request",
]);
export const REASON_NAMES = Object.keys(REASONS);

export function reasonSays(reason) {
  return said(REASONS, reason)?.says ?? `Meta answered “${reason}”`;
}

export function reasonShort(reason) {
  return said(REASONS, reason)?.short ?? reason;
}

export function whose(reason) {
  const owner = said(REASONS, reason)?.whose ?? "the person";
  return owner === "nobody" ? "tried again" : `concerns ${owner}`;
}

export function cure(reason) {
  return said(CURES, reason) ?? "The service's log says more.";
}

// What a table says of a name that comes from outside; nothing of what every object inherits.
function said(table, name) {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

export function isForEver(time) {
  return new Date(time).getUTCFullYear() >= FOR_EVER_FROM_YEAR;
}

// The clock in the viewer's zone; with the day if it is not today.
export function clock(time, { seconds = false } = {}) {
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  if (!isToday) return DAY.format(at);
  return (seconds ? SECONDS : CLOCK).format(at);
}

export const axisClock = (seconds) => CLOCK.format(new Date(seconds * 1000));

export function utc(time) {
  return `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

export function relative(time, now = Date.now()) {
  const seconds = (new Date(time).getTime() - now) / 1000;
  const [, unit, size] = STEPS.find(([below]) => Math.abs(seconds) < below);
  return RELATIVE.format(Math.round(seconds / size), unit);
}

// What an account is called: its own name, else its id.
export function accountName(account) {
  return account.username ? `@${account.username}` : account.igAccountId;
}

export function age(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function count(value) {
  return Math.round(value).toLocaleString("en");
}

export function rate(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  return value < 0.05 ? "< 0.1" : value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 1 : 0 });
}

export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
