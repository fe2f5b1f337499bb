// The live page: both markets, the newest portfolio and the newest events, all from GraphQL subscriptions.

import { draw } from "./candles.js";
import { GraphQlError, Subscriptions, query } from "./graphql.js";

const STORED_KEY = "daybook-key";
const CANDLES = 60;
const EVENTS = 20;

const element = (id) => document.getElementById(id);
let subscriptions;

function show(connected, text) {
  element("status").textContent = text;
  element("status").dataset.state = connected ? "on" : "off";
}

function signIn(message = "") {
  subscriptions?.close();
  sessionStorage.removeItem(STORED_KEY);
  show(false, "not connected");
  element("sign-in-error").textContent = message;
  element("live").hidden = true;
  element("sign-in").hidden = false;
  element("key").focus();
}

const cell = (text, className = "") => Object.assign(document.createElement("td"), { textContent: text, className });

// ---------------------------------------------------------------- markets

const CANDLE = "openTime open high low close volume";

function market(symbol, quote) {
  const article = element("market-template").content.firstElementChild.cloneNode(true);
  article.querySelector("h2").textContent = symbol;
  article.querySelector(".quote").textContent = quote;
  article.querySelector("canvas").setAttribute("aria-label", `Candles of one minute of ${symbol}`);
  element("markets").append(article);
  const candles = new Map();
  let before;

  return (now) => {
    for (const candle of now.candles) candles.set(candle.openTime, candle);
    const shown = [...candles.values()].sort((a, b) => a.openTime.localeCompare(b.openTime)).slice(-CANDLES);
    const price = article.querySelector(".last");
    price.textContent = now.lastPrice ?? "–";
    if (before && now.lastPrice && now.lastPrice !== before) {
      price.className = `last ${Number(now.lastPrice) > Number(before) ? "up" : "down"}`;
    }
    before = now.lastPrice;
    article.querySelector(".bid").textContent = now.bid ?? "–";
    article.querySelector(".ask").textContent = now.ask ?? "–";
    article.querySelector(".stats").textContent =
      now.status === "HALTED" ? "halted" : `last hour: ${now.stats.tradeCount} trades, volume ${now.stats.volume}, VWAP ${now.stats.vwap ?? "–"}`;
    draw(article.querySelector("canvas"), shown);
  };
}

async function markets(key) {
  element("markets").replaceChildren();
  const data = await query(key, `{ markets { symbol quote status lastPrice bid ask
    candles(interval: M1, last: ${CANDLES}) { ${CANDLE} } stats(window: H1) { tradeCount volume vwap } } }`);
  const updates = new Map();
  for (const now of data.markets) {
    const update = market(now.symbol, now.quote);
    updates.set(now.symbol, update);
    update(now);
  }
  subscriptions.subscribe(
    `subscription ($symbols: [String!]!) { ticker(symbols: $symbols) { symbol status lastPrice bid ask
      candles(interval: M1, last: 2) { ${CANDLE} } stats(window: H1) { tradeCount volume vwap } } }`,
    { symbols: [...updates.keys()] },
    ({ ticker }) => updates.get(ticker.symbol)?.(ticker),
    (error) => show(false, error.message),
  );
}

// ---------------------------------------------------------------- portfolio

function term(name, value) {
  const pair = document.createElement("div");
  pair.append(
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value ?? "–" }),
  );
  return pair;
}

function showPortfolio(portfolio) {
  const { cashAccount } = portfolio;
  const list = document.createElement("dl");
  list.append(
    term("owner", portfolio.owner),
    term(`cash, ${cashAccount.currency}`, cashAccount.balance),
    term("available", cashAccount.available),
    term("total value", portfolio.totalValue),
    term("realised P&L", portfolio.realizedPnl),
    term("unrealised P&L", portfolio.unrealizedPnl),
  );
  const table = document.createElement("table");
  table.innerHTML = "<thead><tr><th>asset</th><th>quantity</th><th>reserved</th><th>average cost</th><th>market value</th></tr></thead>";
  const body = table.createTBody();
  for (const position of portfolio.positions) {
    const row = body.insertRow();
    row.append(cell(position.asset), cell(position.quantity), cell(position.reserved), cell(position.averageCost), cell(position.marketValue ?? "–"));
  }
  const scroll = Object.assign(document.createElement("div"), { className: "scroll" });
  scroll.append(table);
  element("portfolio").replaceChildren(list, scroll);
}

async function portfolio(key) {
  const data = await query(key, "{ portfolios(first: 1) { edges { node { id } } } }");
  const id = data.portfolios.edges[0]?.node.id;
  if (!id) {
    element("portfolio").replaceChildren(Object.assign(document.createElement("p"), { className: "quiet", textContent: "there is no portfolio yet" }));
    return;
  }
  subscriptions.subscribe(
    `subscription ($id: ID!) { portfolio(id: $id) { owner realizedPnl unrealizedPnl totalValue
      cashAccount { balance available currency } positions { asset quantity reserved averageCost marketValue } } }`,
    { id },
    (data) => showPortfolio(data.portfolio),
    (error) => element("portfolio").replaceChildren(Object.assign(document.createElement("p"), { className: "error", textContent: error.message })),
  );
}

// ---------------------------------------------------------------- events

async function events(key) {
  const fields = "logPosition type aggregateType aggregateId recordedAt metadata";
  const rows = element("events");
  rows.replaceChildren();
  let last;
  const add = (event) => {
    last = event.logPosition;
    const row = document.createElement("tr");
    row.append(
      cell(event.logPosition, "number"),
      cell(new Date(event.recordedAt).toLocaleTimeString()),
      cell(`${event.aggregateType} ${event.aggregateId}`),
      cell(event.type),
      cell(event.metadata.actor ?? ""),
    );
    rows.prepend(row);
    while (rows.rows.length > EVENTS) rows.deleteRow(-1);
  };
  try {
    const data = await query(key, `{ head events(last: ${EVENTS}) { edges { node { ${fields} } } } }`);
    last = data.head;
    data.events.edges.forEach(({ node }) => add(node));
    element("events-note").textContent = "";
  } catch (error) {
    if (!(error instanceof GraphQlError) || error.code !== "FORBIDDEN") throw error;
    element("events-note").textContent = "This key may not read the log. The auditor's may.";
    return;
  }
  subscriptions.subscribe(
    `subscription ($after: LogPosition) { events(after: $after) { ${fields} } }`,
    () => ({ after: last }),
    ({ events: event }) => add(event),
    (error) => { element("events-note").textContent = error.message; },
  );
}

// ---------------------------------------------------------------- start

async function start(key) {
  subscriptions?.close();
  subscriptions = new Subscriptions(key, (connected, text) => (text === "the key was refused" ? signIn("This key is not valid.") : show(connected, text)));
  try {
    await markets(key);
    sessionStorage.setItem(STORED_KEY, key);
    element("sign-in").hidden = true;
    element("live").hidden = false;
    await Promise.all([portfolio(key), events(key)]);
  } catch (error) {
    if (error instanceof GraphQlError && error.code === "UNAUTHENTICATED") signIn("This key is not valid.");
    else if (element("live").hidden) signIn(error.message);
    else show(false, error.message);
  }
}

element("sign-in").addEventListener("submit", (submit) => {
  submit.preventDefault();
  start(element("key").value.trim());
});
element("sign-out").addEventListener("click", () => signIn());

const stored = sessionStorage.getItem(STORED_KEY);
if (stored) start(stored);
else signIn();
