// The page: one websocket brings a message a second; tables, charts and buttons follow it.
"use strict";

const state = { number: -1, lanes: [], segments: new Map(), points: [], may: false, colours: [],
  services: [], at: 0, wait: 1000, selected: "" };
let lanesChart = null, ratesChart = null, asked = null;

// Theme.

const wanted = new URLSearchParams(location.search).get("theme") || localStorage.getItem("theme")
  || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const theme = wanted === "dark" ? "dark" : "light";
document.documentElement.dataset.theme = theme;
byId("theme").textContent = theme === "dark" ? "light" : "dark";
byId("theme").addEventListener("click", () => {
  localStorage.setItem("theme", theme === "dark" ? "light" : "dark");
  location.href = location.pathname;
});

// Orders: each asks once.

function ask(question, order, name) {
  asked = { order, name };
  setText(byId("question"), question);
  byId("ask").showModal();
}

byId("no").addEventListener("click", () => byId("ask").close());
byId("yes").addEventListener("click", async () => {
  byId("ask").close();
  let done;
  try {
    const answer = await fetch("/order", { method: "POST", body: JSON.stringify(asked) });
    done = answer.ok ? await answer.json() : { ok: false, text: await answer.text() };
  } catch (error) {
    done = { ok: false, text: `the dashboard does not answer: ${error.message}` };
  }
  const line = byId("outcome");
  line.hidden = false;
  line.className = done.ok ? "good" : "bad";
  setText(line, `${asked.order} ${asked.name}: ${done.text}`);
});

function orderButton(cell, text, act, name) {
  let button = cell.querySelector("button");
  if (!button) {
    button = element("button", text);
    button.type = "button";
    cell.append(button);
  }
  setText(button, text);
  button.disabled = !state.may;
  button.onclick = act;
  button.dataset.order = name;
}

byId("retire").addEventListener("click", () => {
  const lane = state.lanes.find((one) => one.address === byId("worker").value);
  if (lane) ask(`Really retire worker ${lane.process || lane.address} of ${lane.service}? It ends ` +
    "when it has finished its request.", "dismiss", lane.address);
});

// Tables.

const SERVICES = [
  ["service", "service", (row, cell) => nameCell(row, cell)],
  ["queued", "queued", (row) => count(row.queued)],
  ["oldest", "oldest", (row) => row.queued ? duration(row.oldest_s) : "", "wide"],
  ["busy", "busy", (row) => count(row.busy), "wide"],
  ["idle", "idle", (row) => count(row.idle), "wide"],
  ["leaving", "retired", (row) => count(row.retired), "wide"],
  ["answered", "answered", (row) => count(row.answered)],
  ["per s", "rate", (row) => rate(row.rate), "wide"],
  ["95 % within", "p95", (row) => duration(row.p95_s), "wide"],
  ["failed", "failed", (row) => count(row.failed)],
  ["", "order", (row, cell) => pauseCell(row, cell)],
];

function nameCell(row, cell) {
  if (!cell.childElementCount) {
    cell.append(element("span", "", "swatch"), element("span"), element("span", "", "warn"));
  }
  const [swatch, name, note] = cell.children;
  swatch.style.background = colourOf(row.service);
  setText(name, row.service);
  const paused = row.paused;
  setText(note, paused ? ` paused by ${paused.by} for ${duration(paused.for_s)}` : "");
}

function pauseCell(row, cell) {
  const verb = row.paused ? "resume" : "pause";
  const text = `Really ${verb} ${row.service}? ${row.queued} requests are queued, ` +
    `${row.busy} workers are busy.`;
  orderButton(cell, row.paused ? "Resume" : "Pause", () => ask(text, verb, row.service), verb);
}

function colourOf(service) {
  const place = state.services.indexOf(service);
  return state.colours.length ? state.colours[Math.max(place, 0) % state.colours.length] : "#888";
}

function showWork(message) {
  const rows = [...message.campaigns.map((one) => ["campaign", one.folder, one]),
    ...message.runs.map((one) => ["run", one.client, one])];
  const box = byId("work");
  const old = new Map([...box.children].map((one) => [one.dataset.row, one]));
  rows.forEach(([kind, key, values], place) => {
    let shown = old.get(`${kind} ${key}`);
    old.delete(`${kind} ${key}`);
    if (!shown) {
      shown = element("div", "", "work");
      shown.dataset.row = `${kind} ${key}`;
      const name = element("p", "", "name");
      name.append(element("span"), element("span"));
      shown.append(name, element("progress"), element("p", "", "dim"));
    }
    if (box.children[place] !== shown) box.insertBefore(shown, box.children[place] || null);
    (kind === "run" ? showRun : showCampaign)(shown, values);
  });
  for (const gone of old.values()) gone.remove();
  if (!rows.length) {
    const nothing = element("p", message.refused ? "not shown: see below" : "nobody waits for answers", "dim");
    nothing.dataset.row = "";
    box.append(nothing);
  }
}

function progressTo(bar, share) {
  bar.max = 1;
  if (share === null) bar.removeAttribute("value"); else bar.value = share;
}

function showCampaign(shown, one) {
  const [name, bar, line] = shown.children;
  setText(name.firstChild, `campaign ${one.name}`);
  bar.hidden = Boolean(one.trouble);
  if (one.trouble) {
    setText(name.lastChild, "");
    setText(line, one.trouble);
    return;
  }
  progressTo(bar, one.share);
  const end = one.complete ? "complete" : one.driven
    ? one.left_s === null ? "time not known yet" : `${duration(one.left_s)} to go` : "nobody drives it";
  setText(name.lastChild, `${Math.floor(100 * one.share)} %, ${end}`);
  const failed = one.files_failed ? `, ${count(one.files_failed)} failed` : "";
  const lost = one.events_failed ? `, ${count(one.events_failed)} of them failed` : "";
  const speed = one.complete ? "" : `; ${rate(one.events_per_s)} events/s; ${one.limit}`;
  setText(line, `${count(one.files_done)} of ${count(one.files)} files done${failed}, ` +
    `${count(one.running)} being scored, ${count(one.events)} events${lost}${speed}`);
}

function showRun(shown, one) {
  const [name, bar, line] = shown.children;
  setText(name.firstChild, `run ${one.output || one.where || one.client}`);
  const known = one.done !== undefined;
  bar.hidden = !known;
  if (known) progressTo(bar, one.of ? Math.min(one.done / one.of, 1) : null);
  let cancel = name.querySelector("button");
  if (!cancel) name.append(element("span"));
  orderButton(name.children[2], "Cancel", () => ask(
    `Really cancel the run ${one.output || one.where || one.client}? ${one.queued + one.held} ` +
    "requests get error 410.", "abort", one.client), "abort");
  setText(name.children[1], known && one.left_s !== null ? `${duration(one.left_s)} to go` : "");
  const work = known ? `${count(one.done)}${one.of ? ` of ${count(one.of)}` : ""} ${one.what}, ` +
    `${rate(one.rate)} per s${one.failed ? `, ${count(one.failed)} failed` : ""}; ` : "";
  const who = one.key ? `, key ${one.key}` : "";
  setText(line, `${work}${count(one.queued)} requests queued, ${count(one.held)} at workers; ` +
    `${one.where || one.client}${who}`);
}

function showFailures(message) {
  const rows = [];
  for (const one of message.services) {
    for (const [code, number] of Object.entries(one.codes)) {
      rows.push(["requests", number, `error ${code} of ${one.service}`, ""]);
    }
  }
  for (const one of message.campaigns) {
    for (const reason of one.reasons || []) {
      rows.push([`${reason.what} of ${one.name}`, reason.count, reason.reason, reason.hosts.join(", ")]);
    }
    for (const host of one.hosts || []) rows.push([`host of ${one.name}`, "", host.why, host.host]);
  }
  const box = byId("failures");
  const key = JSON.stringify(rows);
  if (box.dataset.shown === key) return;
  box.dataset.shown = key;
  if (!rows.length) {
    box.replaceChildren(element("p", "none", "dim"));
    return;
  }
  const table = element("table"), scroll = element("div", "", "scroll");
  fillTable(table, [["what", "what", (row) => row[0]], ["count", "count", (row) => count(row[1] || 0)],
    ["reason", "reason", (row) => row[2], "text"], ["hosts", "hosts", (row) => row[3], "text"]],
    rows, (row) => row.join(" "));
  scroll.append(table);
  box.replaceChildren(scroll);
}

const JOBS = [
  ["job", "id", (row) => row.id], ["kind", "kind", (row) => row.kind, "text"],
  ["state", "state", (row) => row.state], ["host", "host", (row) => row.host || ""],
  ["ends", "ends", (row) => !row.ends_at ? "no end" :
    row.ends_at > state.at ? `in ${duration(row.ends_at - state.at)}` : "-"],
  ["at", "at", (row) => clockTime(row.ends_at), "wide"],
  ["reason", "reason", (row) => row.reason, "text"],
];

function showPool(pool) {
  byId("pool-section").hidden = !pool;
  if (!pool) return;
  const notes = [pool.name, pool.trouble, pool.silence && `batch system: ${pool.silence}`,
    pool.jobs && !pool.keeper_alive && "its keeper is not running",
    pool.left_out && `${pool.left_out} more jobs are not shown`];
  setText(byId("pool-note"), notes.filter(Boolean).join("; "));
  fillTable(byId("jobs"), JOBS, pool.jobs || [], (row) => row.id);
}

function showPicture(picture) {
  const section = byId("picture-section");
  section.hidden = !picture;
  if (!picture) return;
  setText(byId("picture-title"), picture.trouble ? `none: ${picture.trouble}` : picture.title);
  const image = byId("picture"), number = String(picture.number);
  image.hidden = !picture.number;
  if (picture.number && image.dataset.number !== number) {
    image.dataset.number = number;
    image.src = `/picture?number=${number}`;
  }
}

// Charts.

const LOOK = { busy: [1, " "], idle: [0.22, " "], leaving: [0.45, "/"], left: [0.1, " "], lost: [0.9, "x"] };
const LOST = "#8b8b8b";
const EM = parseFloat(getComputedStyle(document.documentElement).fontSize);

async function makeCharts() {
  const made = await (await fetch(`/charts?theme=${theme}`)).json();
  state.colours = made.colours;
  const find = async (item, target, name) => {
    const views = await Bokeh.embed.embed_item(item, target);
    const plot = views.roots[0].model;
    for (const axis of [...plot.left, ...plot.below]) {
      axis.major_label_text_font_size = `${Math.round(0.75 * EM)}px`;
      axis.axis_label_text_font_size = `${Math.round(0.8 * EM)}px`;
    }
    return { plot, source: plot.document.get_model_by_name(name) };
  };
  lanesChart = await find(made.lanes, "lanes", "segments");
  ratesChart = await find(made.rates, "rates", "lines");
  lanesChart.marks = lanesChart.plot.document.get_model_by_name("marks");
  lanesChart.source.selected.properties.indices.change.connect(() => {
    const place = lanesChart.source.selected.indices[0];
    const lane = place === undefined ? null : lanesChart.shown[place];
    if (lane) { byId("worker").value = lane.address; state.selected = lane.address; }
  });
}

function takeLanes(lanes) {
  if (lanes.lanes) {
    state.lanes = lanes.lanes;
    showWorkers();
  }
  for (const [number, lane, what, begin, end] of lanes.opened) {
    state.segments.set(number, { lane, what, begin, end });
  }
  for (const [number, end] of lanes.closed) {
    const segment = state.segments.get(number);
    if (segment) segment.end = end;
  }
  const present = new Set(state.lanes.map((lane) => lane.number));
  for (const [number, segment] of state.segments) {
    if (!present.has(segment.lane) || (segment.end && segment.end < state.at - 120)) {
      state.segments.delete(number);
    }
  }
  const left = lanes.left_out ? `, ${count(lanes.left_out)} more are not shown` : "";
  const going = [...state.segments.values()].filter((one) => !one.end);
  const shown = going.filter((one) => one.what !== "lost" && one.what !== "left").length;
  setText(byId("lanes-note"), `${count(shown)} in lanes of the last two minutes${left}`);
}

function showWorkers() {
  const select = byId("worker"), chosen = select.value;
  select.replaceChildren(...state.lanes.filter((lane) => !lane.address.startsWith("(")).map((lane) => {
    const option = element("option", `${lane.service} ${lane.process || lane.address}` +
      (lane.job ? ` job ${lane.job}` : ""));
    option.value = lane.address;
    return option;
  }));
  if (chosen) select.value = chosen;
}

function drawLanes() {
  if (!lanesChart) return;
  const place = new Map(state.lanes.map((lane, row) => [lane.number, row]));
  const data = { left: [], right: [], top: [], bottom: [], colour: [], alpha: [],
    who: [], state: [] };
  const marks = { left: [], right: [], top: [], bottom: [], hatch: [] };
  lanesChart.shown = [];
  const gap = state.lanes.length > 100 ? 0 : 0.08;
  for (const { lane, what, begin, end } of state.segments.values()) {
    const row = place.get(lane);
    if (row === undefined) continue;
    const worker = state.lanes[row], [alpha, hatch] = LOOK[what];
    data.left.push(Math.max(begin - state.at, -120));
    data.right.push((end || state.at) - state.at);
    data.top.push(row + gap);
    data.bottom.push(row + 1 - gap);
    data.colour.push(what === "lost" ? LOST : colourOf(worker.service));
    data.alpha.push(alpha);
    if (hatch !== " ") {
      for (const side of ["left", "right", "top", "bottom"]) marks[side].push(data[side].at(-1));
      marks.hatch.push(hatch);
    }
    data.who.push(`${worker.service} ${worker.process || worker.address}`);
    data.state.push(`${what} for ${duration((end || state.at) - begin)}`);
    lanesChart.shown.push(worker);
  }
  const plot = lanesChart.plot, rows = Math.max(state.lanes.length, 1);
  const high = Math.round(Math.min(Math.max(rows * 1.2 * EM, 4 * EM), 0.6 * innerHeight) + 3.5 * EM);
  if (plot.height !== high) plot.height = high;
  if (plot.y_range.start !== rows) plot.y_range.start = rows;
  lanesChart.source.data = data;
  if (marks.hatch.length || lanesChart.marks.data.hatch.length) lanesChart.marks.data = marks;
  labelServices(plot);
}

function labelServices(plot) {
  const groups = new Map();
  state.lanes.forEach((lane, row) => {
    const group = groups.get(lane.service) || [row, row];
    group[1] = row + 1;
    groups.set(lane.service, group);
  });
  const labels = new Map([...groups].map(([name, [first, end]]) => [(first + end) / 2,
    name.length > 14 ? `${name.slice(0, 13)}…` : name]));
  const key = JSON.stringify([...labels]);
  if (plot.yLabels === key) return;
  plot.yLabels = key;
  const axis = plot.left[0];
  axis.ticker.ticks = [...labels.keys()];
  axis.major_label_overrides = labels;
}

function drawRates() {
  if (!ratesChart) return;
  const data = { xs: [], ys: [], colour: [], dash: [] };
  state.services.forEach((service, place) => {
    const points = state.points.filter(([, rates]) => service in rates);
    data.xs.push(points.map(([at]) => at - state.at));
    data.ys.push(points.map(([, rates]) => rates[service]));
    data.colour.push(colourOf(service));
    data.dash.push(place < state.colours.length ? "solid" : "dashed");
  });
  ratesChart.source.data = data;
}

function showLegend() {
  const box = byId("legend");
  const key = state.services.join("\n");
  if (box.dataset.shown === key) return;
  box.dataset.shown = key;
  box.replaceChildren(...state.services.slice(0, 12).flatMap((service) => {
    const swatch = element("span", "", "swatch");
    swatch.style.background = colourOf(service);
    const entry = element("span", " ");
    entry.style.whiteSpace = "nowrap";
    entry.append(swatch, element("span", service));
    return [entry, " "];
  }), element("span", "  full colour: busy; pale: idle; stripes: leaving; grey crosses: lost", "dim"));
}

// Messages.

function take(message) {
  if (message.snapshot) {
    state.segments.clear();
    state.points = [];
  } else if (message.number <= state.number) {
    return;
  }
  state.number = message.number;
  if (!message.headline) return;
  state.at = message.at;
  showState(message);
  if (!message.services) return;
  if (message.silent_since && !message.snapshot) return;
  state.may = !message.refused && !message.silent_since;
  state.services = message.services.map((row) => row.service);
  showKey(message.refused);
  for (const point of message.points || []) state.points.push(point);
  while (state.points.length && state.points[0][0] < state.at - 600) state.points.shift();
  if (message.lanes) takeLanes(message.lanes);
  showTiles(message.tiles);
  fillTable(byId("services"), SERVICES, message.services, (row) => row.service);
  byId("retire").disabled = !state.may || !state.lanes.length;
  showLegend();
  showWork(message);
  showFailures(message);
  showPool(message.pool);
  showPicture(message.picture);
  drawLanes();
  drawRates();
  document.body.dataset.number = String(state.number);
}

function showState(message) {
  const line = byId("headline");
  line.className = message.headline.level;
  setText(line, message.headline.text);
  setText(byId("broker"), message.broker ? `${message.broker}, version ${message.version}` : "");
  document.body.classList.toggle("silent", Boolean(message.silent_since));
  const silent = byId("silent");
  silent.hidden = !message.silent_since;
  if (message.silent_since) {
    setText(silent, `no answer since ${clockTime(message.silent_since)}: these figures are old`);
    for (const button of document.querySelectorAll("main button")) button.disabled = true;
  }
}

function showKey(refused) {
  const line = byId("no-orders");
  line.hidden = !refused;
  if (refused) {
    setText(line, `Buttons, single workers and runs need an operator's key (${refused}). ` +
      "`mdp keys new NAME --role operator` makes one; start the dashboard with its contact file: " +
      "ssnet dashboard --broker @FILE");
  }
}

function showTiles(tiles) {
  setText(byId("tile-events"), rate(tiles.events_per_s));
  setText(byId("tile-crops"), rate(tiles.crops_per_s));
  setText(byId("tile-left"), duration(tiles.left_s));
  setText(byId("tile-queued"), count(tiles.queued));
  setText(byId("tile-failed"), count(tiles.failed));
}

function connect() {
  const socket = new WebSocket(`ws://${location.host}/live`);
  socket.onopen = () => { state.wait = 1000; };
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = (event) => {
    const line = byId("headline");
    line.className = "bad";
    setText(line, event.reason || "the dashboard does not answer; trying again");
    document.body.classList.add("silent");
    for (const button of document.querySelectorAll("main button")) button.disabled = true;
    setTimeout(connect, state.wait);
    state.wait = Math.min(2 * state.wait, 30000);
  };
}

makeCharts().then(connect);
