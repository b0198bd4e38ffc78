// What codes, times and numbers mean, in words.

const LOCALE = "en-GB";
const CLOCK = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86_400, "hour", 3600], [Infinity, "day", 86_400]];
const FOR_EVER_FROM_YEAR = 9000;

// Why a call brought no name, and whose affair that is.
export const REASONS = {
  consent_required: { says: "Meta says this person has not consented", whose: "the person" },
  not_found: { says: "Meta does not know this person", whose: "the person" },
  timeout: { says: "Meta did not answer in time", whose: "nobody" },
  upstream_error: { says: "Meta answered with an error", whose: "nobody" },
  token_invalid: { says: "Meta refuses the account's token", whose: "the account" },
  permission: { says: "The account's token lacks a permission", whose: "the account" },
  no_connection: { says: "The account is not connected", whose: "the account" },
  throttled: { says: "Meta asks us to call less often", whose: "the app" },
  outage: { says: "Meta's Graph API is failing", whose: "Meta" },
  refused: { says: "Meta refuses this person alone", whose: "the person" },
  bad_request: { says: "Meta calls our request wrong", whose: "the account or the service" },
  policy_block: { says: "Meta has blocked the account for its behaviour", whose: "the account" },
};

// What a pause means for an operator.
const CURES = {
  token_invalid: "Make a new long-lived token for the account and put it in under Accounts. Names follow at once; nothing is lost meanwhile.",
  permission: "Reconnect the account with instagram_basic and instagram_manage_messages granted, and put the new token in under Accounts. One call looks now and then whether it works again.",
  throttled: "There is nothing to do: calls go on by themselves. If it happens often, lower GRAPH_CALLS_PER_SECOND.",
  outage: "There is nothing to do: one call looks now and then whether Meta is back, and then everything goes on.",
  bad_request: "Check GRAPH_API_VERSION, GRAPH_BASE_URL and META_APP_SECRETS; the log has Meta's words. If one account alone is paused, its token is of another app: connect it again.",
  policy_block: "Look into the account's support inbox at Meta. One call looks now and then whether the block is over.",
};

// What a table says of a name that comes from outside; nothing of what every object inherits.
export function said(table, name) {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

export function reasonSays(reason) {
  return said(REASONS, reason)?.says ?? `Meta answered “${reason}”`;
}

export function cure(reason) {
  return said(CURES, reason) ?? "The service's log says more.";
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

// When the service tries a person again, from the waits between failures; null if it will not.
export function nextTry(identity, { maxFailures, retryWaitsSeconds }) {
  const { failCount, lastFailedAt } = identity;
  if (failCount === 0 || failCount >= maxFailures || !lastFailedAt) return null;
  const waitS = retryWaitsSeconds[Math.min(failCount, retryWaitsSeconds.length) - 1];
  return new Date(new Date(lastFailedAt).getTime() + waitS * 1000);
}
