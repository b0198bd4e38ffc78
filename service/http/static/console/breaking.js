// In the sandbox only: has the Graph simulator answer in another way than normal, and mends it.

import { html, useChanges, useEffect, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Empty, Field, Note, Panel, Time, announce } from "./parts.js";
import { reasonSays } from "./words.js";

const TIMES = [["", "until it is mended"], ["1", "for the next call"], ["5", "for the next 5 calls"]];

export function Breaking({ live }) {
  useChanges(live);
  const [told, setTold] = useState(null); // the answers, and those that are given now
  const [people, setPeople] = useState([]);
  const [trouble, setTrouble] = useState(null);
  const [who, setWho] = useState("");
  const [times, setTimes] = useState("");
  const attempt = async (work, done = "") => {
    try {
      await work();
      setTold(await api.meta.answers());
      setTrouble(null);
      if (done) announce(done);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    }
  };
  useEffect(() => {
    attempt(async () => setPeople((await api.sandbox()).people));
  }, []);
  useEffect(() => {
    attempt(async () => {}); // a key in the terminal can have changed it
  }, [live.updatedAt]);
  const mend = () => attempt(api.meta.mend, "Meta is well again.");
  const choose = (answer) =>
    attempt(
      () => api.meta.choose({ answer, igUserId: who || null, times: times ? Number(times) : null }),
      `Meta answers ${answer}.`,
    );
  return html`
    <h2 tabindex="-1">Break Meta</h2>
    <p class="lead">Here a simulator stands in Meta's place. Choose how it answers, send a test DM, and see what the
      service makes of it. Only the sandbox has this page.</p>
    ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
    <div class="columns">
      <${Now} live=${live} now=${told?.now ?? []} people=${people}
        onMend=${mend}
        onEnd=${() => attempt(api.meta.endPauses, "The pauses have ended.")} />
      <${Panel} title="What to break">
        <div class="form">
          <${Field} label="Calls about">
            <select value=${who} onChange=${(event) => setWho(event.target.value)}>
              <option value="">everybody</option>
              ${people.map(({ igUserId, what }) => html`<option value=${igUserId}>${igUserId} (${what})</option>`)}
            </select>
          <//>
          <${Field} label="For how long">
            <select value=${times} onChange=${(event) => setTimes(event.target.value)}>
              ${TIMES.map(([value, words]) => html`<option value=${value}>${words}</option>`)}
            </select>
          <//>
        </div>
      <//>
    </div>
    ${told
      ? told.kinds.map((kind) => html`<${Kind} key=${kind.title} ...${kind} now=${told.now}
          onChoose=${choose} onMend=${mend} />`)
      : html`<${Empty}>One moment …<//>`}
  `;
}

function Now({ live, now, people, onMend, onEnd }) {
  const pauses = live.status?.pauses ?? [];
  const known = new Map(people.map(({ igUserId, what }) => [igUserId, what]));
  return html`
    <${Panel} title="Now">
      <ul class="rows">
        ${now.filter(({ scope }) => scope === "all").map((script) => html`<${Script} ...${script} who="every call" />`)}
        ${now.filter(({ scope }) => scope === "user").map((script) => html`
          <${Script} ...${script} who=${known.get(script.key) ?? script.key} />`)}
        ${pauses.map(({ scope, reason, until }) => html`
          <li>
            <div><b>${scope === "app" ? "All calls are paused" : "The account is paused"}</b><small>${reasonSays(reason)}</small></div>
            <${Badge} kind="warn">until <${Time} at=${until} seconds /><//>
          </li>`)}
        ${now.every(({ scope }) => scope !== "all") && pauses.length === 0 && html`<li>Meta is well, and nothing is paused.</li>`}
      </ul>
      <p class="hint">Mending stores the sample account's token again, too, and leaves the sample people as they were at the
        start. What the service has paused ends by itself as soon as a call finds Meta well.</p>
      <div class="actions">
        <button class="primary" onClick=${onMend}>Mend Meta</button>
        <button disabled=${pauses.length === 0} onClick=${onEnd}>End the pauses now</button>
      </div>
    <//>
  `;
}

function Script({ answer, remaining, who }) {
  return html`
    <li>
      <div><b>${answer}</b><small>answers ${who}</small></div>
      <${Badge} kind="bad">${remaining === null ? "until it is mended" : `for ${remaining} more`}<//>
    </li>
  `;
}

function Kind({ title, expect, lasts, answers, now, onChoose, onMend }) {
  const isGiven = (answer) => now.some((script) => script.scope === "all" && script.answer === answer);
  return html`
    <${Panel} title=${title}>
      <p><b>Expect:</b> ${expect}</p>
      <p class="todo"><b>For how long:</b> ${lasts}</p>
      <ul class="rows">
        ${answers.map(({ answer, says }) => html`
          <li key=${answer}>
            <div>${says}<small><code>${answer}</code></small></div>
            ${isGiven(answer)
              ? html`<button class="primary" aria-label="Mend ${answer}" onClick=${onMend}>Mend</button>`
              : html`<button aria-label="Answer ${answer}" onClick=${() => onChoose(answer)}>Answer so</button>`}
          </li>`)}
      </ul>
    <//>
  `;
}
