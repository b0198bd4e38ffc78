// The list of people: only the rows in sight are drawn, and more are read before the end is reached.

import { html, useEffect, useRef, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Empty, Note, Picture, Time } from "./parts.js";
import { clock, plural, reasonShort } from "./words.js";

const ROW_PX = 64;
const BEYOND = 8; // rows drawn above and below what is in sight
const PAGES_AT_ONCE = 8; // if few users on a page match, read so many pages before asking the viewer
const FEW = 30;

export const STATES = {
  resolved: { kind: "good", says: "Known" },
  pending: { kind: "warn", says: "No name yet" },
  failed: { kind: "bad", says: "Given up" },
  unknown: { kind: "quiet", says: "Never heard of" },
};

export function List({ live, filters, box }) {
  const { people, next, state, trouble, more } = usePages(filters, live);
  if (trouble) return html`<${Note} role="alert" title=${trouble.message} />`;
  if (people.length === 0) return html`<${Nobody} state=${state} next=${next} filters=${filters} more=${more} />`;
  return html`
    <${Rows} live=${live} people=${people} next=${next} more=${more} box=${box} />
    <p class="foot" role="status">
      ${plural(people.length, "person", "people")}${next ? `, back to ${clock(momentOf(next))}` : ""}
      ${state === "reading" ? " · reading …" : next && html` · <button class="link" onClick=${more}>go on</button>`}
    </p>
  `;
}

function Nobody({ state, next, filters, more }) {
  if (state === "reading") return html`<${Empty}>Looking …<//>`;
  if (next) {
    return html`<${Empty}>Nobody found among those who wrote since ${clock(momentOf(next))}.
      ${" "}<button class="link" onClick=${more}>Look further back</button><//>`;
  }
  const isFiltered = Object.values(filters).some(Boolean);
  return html`<${Empty}>${isFiltered ? "No user who has written matches these filters." : "Nobody has written yet."}<//>`;
}

// Reads the first page, and the next ones when asked; a changed filter starts from the first page.
function usePages(filters, live) {
  const [found, setFound] = useState({ people: [], next: null, state: "reading", trouble: null });
  const abort = useRef(null);
  const read = async (people, cursor) => {
    abort.current = new AbortController();
    const { signal } = abort.current;
    setFound((before) => ({ ...before, state: "reading" }));
    try {
      const enough = people.length + FEW;
      for (let page = 0; page < PAGES_AT_ONCE; page += 1) {
        const answer = await readPeople(filters, cursor, signal);
        people = [...people, ...answer.people];
        cursor = answer.next;
        setFound({ people, next: cursor, state: "reading", trouble: null });
        if (!cursor || people.length >= enough) break;
      }
      setFound({ people, next: cursor, state: "read", trouble: null });
    } catch (trouble) {
      if (signal.aborted) return;
      if (!(trouble instanceof api.Trouble)) throw trouble;
      live.refused(trouble);
      setFound((before) => ({ ...before, state: "read", trouble: before.people.length ? null : trouble }));
    }
  };
  useEffect(() => {
    read([], null);
    return () => abort.current?.abort();
  }, []);
  const more = () => found.state === "read" && found.next && read(found.people, found.next);
  return { ...found, more };
}

function Rows({ live, people, next, more, box }) {
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [chosen, setChosen] = useState(0);
  useEffect(() => {
    const resized = new ResizeObserver(() => setHeight(box.current?.clientHeight ?? 600));
    resized.observe(box.current);
    return () => resized.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / ROW_PX) - BEYOND);
  const last = Math.min(people.length, Math.ceil((top + height) / ROW_PX) + BEYOND);
  useEffect(() => {
    if (next && last >= people.length) more();
  }, [last, people.length, next]);
  const choose = (n) => {
    const wanted = Math.max(0, Math.min(people.length - 1, n));
    setChosen(wanted);
    const [above, below] = [wanted * ROW_PX, (wanted + 1) * ROW_PX];
    if (above < box.current.scrollTop) box.current.scrollTop = above;
    if (below > box.current.scrollTop + box.current.clientHeight) box.current.scrollTop = below - box.current.clientHeight;
  };
  const onKey = (event) => {
    const page = Math.max(1, Math.floor(height / ROW_PX) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key === "Enter") location.hash = `people/${people[chosen].igUserId}`;
    else if (Object.hasOwn(steps, event.key)) choose(chosen + steps[event.key]);
    else return;
    event.preventDefault();
  };
  return html`
    <div class="list" role="listbox" tabindex="0" aria-label="People, the most recent first" ref=${box}
      aria-activedescendant="person-${chosen}" onScroll=${(event) => setTop(event.target.scrollTop)} onKeyDown=${onKey}>
      <div class="list-inner" role="presentation" style=${{ height: `${people.length * ROW_PX}px` }}>
        ${people.slice(first, last).map((person, n) => html`
          <${Row} key=${person.igUserId} live=${live} person=${person} at=${first + n} of=${next ? -1 : people.length}
            isChosen=${first + n === chosen} />`)}
      </div>
    </div>
  `;
}

function Row({ live, person, at, of, isChosen }) {
  const { kind, says } = STATES[person.state];
  const { igUserId, displayName, name, accounts, reason } = person;
  const where = accounts.map((account) => live.accountName(account.igAccountId)).join(", ");
  return html`
    <div class="list-row ${isChosen ? "chosen" : ""}" role="option" id="person-${at}" aria-selected=${String(isChosen)}
      aria-posinset=${at + 1} aria-setsize=${of} style=${{ top: `${at * ROW_PX}px` }}
      onClick=${() => (location.hash = `people/${igUserId}`)}>
      <${Picture} identity=${person} isSmall />
      <div class="list-who"><b>${displayName}</b><small>${name && name !== displayName ? name : igUserId}</small></div>
      <div class="list-where"><span>${where}</span><small>${accounts[0] && html`<${Time} at=${accounts[0].lastMessageAt} isRelative />`}</small></div>
      <${Badge} kind=${person.stale && kind === "good" ? "warn" : kind}>${badge(person, says, reason)}<//>
    </div>
  `;
}

function badge({ state, stale }, says, reason) {
  if (state === "resolved") return stale ? "Expired" : says;
  return reason ? reasonShort(reason) : says;
}

// The time of the last message that a cursor stands at: its first part, in microseconds.
function momentOf(cursor) {
  return Number(cursor.split("-")[0]) / 1000;
}

// Reads one page.
async function readPeople(filters, cursor, signal) {
  const wanted = Object.entries({ ...filters, limit: 100, cursor }).filter(([, value]) => value);
  return api.get(`people?${new URLSearchParams(wanted)}`, { signal });
}
