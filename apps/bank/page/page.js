// Listens to what the bank tells of its state, and shows it.
"use strict";

const LIMIT = 5000; // milliseconds for an answer
const PART = 20; // accounts on the page at a time

const counters = [
  ["transfers made", (state) => state.transfers.made],
  ["transfers refused", (state) => state.transfers.refused],
  ["requests in flight", (state) => state.requests.in_flight],
  ["requests answered", (state) => state.requests.completed],
  ["requests failed", (state) => state.requests.failed],
  ["requests panicked", (state) => state.requests.panicked],
  ["clients gone", (state) => state.requests.cancelled],
  ["connections in use", (state) => `${state.connections.in_use} of ${state.connections.max}`],
  ["waiting for one", (state) => state.connections.waiting],
  ["enters", (state) => state.tenures.entered],
  ["exits run", (state) => state.tenures.exited],
  ["in the background", (state) => state.tenures.in_background],
  ["exits lost", (state) => state.tenures.lost],
];

const byId = (id) => document.getElementById(id);
const grouped = new Intl.NumberFormat("en");
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2 });
let first = 1;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function duration(milliseconds) {
  if (milliseconds < 1000) return `${milliseconds} ms`;
  if (milliseconds < 60000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const minutes = Math.floor(milliseconds / 60000);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(LIMIT) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function showState(state) {
  byId("status").textContent = `on ${state.database}, up ${duration(state.uptime)}`;
  byId("counters").replaceChildren(...counters.map(([label, read]) => {
    const pair = document.createElement("div");
    const value = read(state);
    const lost = label === "exits lost" && value > 0;
    pair.append(
      element("dt", label),
      element("dd", typeof value === "number" ? grouped.format(value) : value, lost ? "alarm" : ""),
    );
    return pair;
  }));
  const left = state.tenures.held - state.held.length;
  byId("held-count").textContent = grouped.format(state.tenures.held);
  byId("held").tBodies[0].replaceChildren(...state.held.map((held) => {
    const who = element("td", held.who);
    const remark = [held.phase === "held" ? "" : held.phase, held.handed_over ? "its caller is gone" : ""];
    who.append(element("div", remark.filter(Boolean).join(", "), "quiet"));
    return row(who, element("td", held.place, "quiet"), element("td", duration(held.age), "number"));
  }));
  if (left > 0) byId("held-count").textContent += `, the oldest ${state.held.length} shown`;
}

function showAccounts({ total, accounts }) {
  byId("accounts").tBodies[0].replaceChildren(...accounts.map(({ account, balance }) =>
    row(element("td", account), element("td", money.format(balance / 100), "number"))));
  const last = accounts.at(-1)?.account ?? first;
  byId("shown").textContent = `${grouped.format(first)} – ${grouped.format(last)} of ${grouped.format(total)}`;
  byId("previous").disabled = first <= 1;
  byId("next").disabled = last >= total;
}

// Only the last question asked is answered: pages may be turned faster than the bank answers.
let asked = 0;
async function refresh() {
  const mine = ++asked;
  try {
    const accounts = await ask(`/accounts?from=${first}&count=${PART}`);
    if (mine === asked) showAccounts(accounts);
  } catch (error) {
    if (mine === asked) lost();
  }
}

function lost() {
  byId("status").textContent = "the bank does not answer";
  document.body.classList.add("stale");
}

// The browser comes back by itself when the bank does. A page that is hidden does not listen.
let events;
function listen() {
  if (document.hidden) {
    events?.close();
    events = undefined;
  } else if (!events) {
    events = new EventSource("/events");
    events.addEventListener("error", lost);
    events.addEventListener("state", (event) => {
      showState(JSON.parse(event.data));
      document.body.classList.remove("stale");
      refresh();
    });
  }
}

function turn(by) {
  first = Math.max(1, first + by);
  refresh();
}

byId("previous").addEventListener("click", () => turn(-PART));
byId("next").addEventListener("click", () => turn(PART));
byId("transfer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const moved = byId("moved");
  const order = {
    payer: Number(form.get("payer")),
    payee: Number(form.get("payee")),
    amount: Math.round(Number(form.get("amount")) * 100),
  };
  const say = (text, className) => {
    moved.textContent = text;
    moved.className = className;
  };
  try {
    const answer = await fetch("/transfers", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(order),
      signal: AbortSignal.timeout(LIMIT),
    });
    if (answer.status === 201) say(`account ${order.payer} has ${money.format((await answer.json()).balance / 100)} left`, "");
    else say(await answer.text(), "alarm");
  } catch {
    say("no answer came; whether the money was moved is to be seen below", "alarm");
  }
  refresh();
});

document.addEventListener("visibilitychange", listen);
listen();
