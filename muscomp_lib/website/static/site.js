// The website's page: sends songs, shows how far they are, and plays them in the mixer of notebook 05.
//
// From top to bottom: what the server is asked; the songs of this browser, which localStorage keeps; sending; the list; the
// player. A song is {id, key, listen, name, bytes}, and its `state` is what the server says (server.py: Api.state).

import mixer from "./mixer.js";

const PIECE = 1_000_000; // bytes of an upload in one request: some proxies take no more than a megabyte
const POLL = 1000, POLL_HIDDEN = 5000; // ms
const RETRY = [500, 1000, 2000, 4000, 8000]; // ms until a request that failed is sent again; the last one for ever
const MOST_LISTED = 3; // names in a message
const STORE = "muscomp-songs";
const DEFAULTS = { gain: 0, pan: 0, mute: false, solo: false, midi: false };

const $ = (id) => document.getElementById(id);
const wait = (ms) => new Promise((resume) => setTimeout(resume, ms));
const pretty = (name) => name.replaceAll("_", " ");
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------------------------------------------ the server

class RefusedError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// A request; a refusal is raised with the server's reason. What does not reach the server raises TypeError.
async function ask(method, path, { key, json, body } = {}) {
  const headers = { ...(key && { "X-Song-Key": key }), ...(json && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method, headers, body: json ? JSON.stringify(json) : body });
  if (answer.ok || answer.status === 409) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new RefusedError(answer.status, said.error ?? `The server answered ${answer.status}.`);
}

const pause = (tries) => wait(RETRY[Math.min(tries, RETRY.length - 1)]);

// The same, until the server can be reached again; meanwhile, its reason is shown, if it gave one.
async function askUntilAnswered(...request) {
  let shown = "";
  for (let tries = 0; ; tries++) {
    try {
      const answer = await ask(...request);
      if (shown && $("message").textContent === shown) say("");
      return answer;
    } catch (error) {
      if (error instanceof RefusedError) {
        if (error.status < 502) throw error;
        say((shown = error.message), true);
      }
      await pause(tries);
    }
  }
}

const pathOf = (song, rest = "") => `api/songs/${song.id}${rest}`;
const fileOf = (song, name) => `${pathOf(song, `/files/${encodeURIComponent(name)}`)}?key=${song.key}`;

function say(text, wrong = false) {
  $("message").textContent = text;
  $("message").classList.toggle("wrong", wrong);
}

// ------------------------------------------------------------------------------------------- the songs of this browser

let site = null; // what the server offers
const listened = shared(); // the song of a share link, to which this page then belongs
let songs = listened ? [listened] : read();

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "[]");
  } catch {
    return []; // in private windows of some browsers
  }
}

// A share link opens one song, to listen.
function shared() {
  const [, id, key] = location.hash.match(/^#listen=([\w-]+)\.([\w-]+)$/) ?? [];
  return id && { id, key, settings: {} };
}

function keep() {
  if (listened) return;
  const stored = songs.filter((song) => song.key).map(({ id, key, listen, name, bytes, settings }) => ({ id, key, listen, name, bytes, settings }));
  try {
    localStorage.setItem(STORE, JSON.stringify(stored));
  } catch {
    say("This browser stores nothing, so a reload will lose your songs.");
  }
}

// Another tab has sent songs, or deleted some.
function followOtherTabs() {
  const stored = read(), ids = new Set(stored.map(({ id }) => id));
  for (const song of songs.filter((one) => !ids.has(one.id) && !one.sending)) forget(song, false);
  songs.unshift(...stored.filter(({ id }) => !songs.some((one) => one.id === id)));
  showList();
}

function forget(song, store = true) {
  songs = songs.filter((other) => other !== song);
  song.row?.remove();
  if (player.song === song) player.close();
  if (store) keep();
  showList();
}

// ------------------------------------------------------------------------------------------------------- sending

async function add(files) {
  say("");
  const refused = new Map(); // the names of files, by the reason
  for (const file of files) {
    try {
      await enter(file);
    } catch (error) {
      const reason = error instanceof RefusedError ? error.message : "The server cannot be reached. Try again.";
      refused.set(reason, [...(refused.get(reason) ?? []), file.name]);
      say([...refused].map(([why, names]) => `${listed(names)}: ${why}`).join("\n"), true);
    }
  }
}

// The files that are dropped; of a folder, the songs in it and below it, or else itself, which is refused.
async function dropped(items) {
  const given = [...items].filter(({ kind }) => kind === "file").map((item) => [item.getAsFile(), item.webkitGetAsEntry()]);
  const inside = given.map(async ([file, entry]) => {
    const found = entry?.isDirectory ? await songsIn(entry).catch(() => []) : [];
    return found.length || !file ? found : [file]; // some browsers have no file for a folder
  });
  return (await Promise.all(inside)).flat();
}

async function songsIn(entry) {
  if (entry.isFile) return [await new Promise((take, fail) => entry.file(take, fail))].filter(({ name }) => isSong(name));
  const reader = entry.createReader(), inside = [];
  const more = () => new Promise((take, fail) => reader.readEntries(take, fail)); // some at a time
  for (let some = await more(); some.length; some = await more()) inside.push(...some);
  inside.sort((one, other) => one.name.localeCompare(other.name, [], { numeric: true }));
  return (await Promise.all(inside.map(songsIn))).flat();
}

const isSong = (name) => !name.startsWith(".") && site.suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));

const listed = (names) => names.slice(0, MOST_LISTED).join(", ") + (names.length > MOST_LISTED ? ` and ${names.length - MOST_LISTED} more` : "");

// Enter a file, or go on with the one that was broken off, and send it after those that are being sent.
let sending = Promise.resolve();
async function enter(file) {
  let song = songs.find((one) => one.state?.state === "uploading" && !one.sending && one.name === file.name && one.bytes === file.size);
  if (!file.size) throw new RefusedError(400, "This is empty, or a folder. Choose the songs in it, or another copy.");
  if (!song) {
    const json = { name: file.name, bytes: file.size, ...options() };
    const answer = await ask("POST", "api/songs", { json });
    song = { ...(await answer.json()), name: file.name, bytes: file.size };
    songs.unshift(song);
    keep();
  }
  song.sending = true;
  delete song.problem;
  showList();
  sending = sending.then(() => send(song, file)).catch((error) => {
    if (songs.includes(song)) song.problem = error.message;
  }).finally(() => ((song.sending = false), showSong(song)));
}

async function send(song, file) {
  let at = song.state?.received ?? 0, tries = 0, answer;
  do { // until it is taken as a whole: the server may have been ended when all was there, before it let the song wait
    const body = await bytes(file, at);
    answer = await askUntilAnswered("PUT", pathOf(song, `/sound?at=${at}`), { key: song.key, body });
    const { next } = await answer.json();
    if (answer.ok || next !== at) tries = 0;
    else await pause(tries++); // the server still waits for a connection that is dead
    song.sent = at = next;
    showSong(song);
  } while ((at < file.size || !answer.ok) && songs.includes(song));
  await refresh(song);
}

// A piece of a file. Within a request, one that cannot be read looks like a server that cannot be reached.
async function bytes(file, at) {
  try {
    return await file.slice(at, at + PIECE).arrayBuffer();
  } catch {
    throw new Error("The file can no longer be read: it was changed or moved, or its disk is gone. Choose it again.");
  }
}

function options() {
  const kept = [...$("keep").querySelectorAll("input:checked")].map((input) => input.value);
  const all = $("keep").querySelectorAll("input").length;
  return {
    model: $("model").value,
    seconds: $("length").value ? Number($("length").value) : null,
    keep: kept.length && kept.length < all ? kept : null,
  };
}

function showOptions() {
  const model = site.models.find(({ name }) => name === $("model").value);
  $("keep").replaceChildren(...model.instruments.map((name) =>
    make("label", {}, make("input", { type: "checkbox", value: name, checked: true }), pretty(name))));
  for (const word of ["drums", "vocals"]) $(`keep-${word}`).hidden = !model.instruments.some((name) => name.toLowerCase() === word);
  showChosen();
}

function showChosen() {
  const { seconds, keep: kept } = options();
  const words = [seconds && `${seconds} s from the middle`, kept && `${kept.map(pretty).join(", ")} and the rest`];
  $("chosen").textContent = words.filter(Boolean).join("; ");
}

function keepOnly(word) {
  for (const input of $("keep").querySelectorAll("input")) input.checked = !word || input.value.toLowerCase() === word;
  showChosen();
}

// ------------------------------------------------------------------------------------------------------- the list

function showList() {
  const mine = songs.filter((song) => song.listen);
  $("list").hidden = !mine.length;
  $("drop").classList.toggle("small", mine.length > 0);
  for (const song of mine) {
    song.row ??= makeRow(song);
    showSong(song);
  }
  const rows = mine.map(({ row }) => row);
  if (rows.some((row, i) => $("songs").children[i] !== row)) $("songs").replaceChildren(...rows);
}

function makeRow(song) {
  const row = make("li");
  row.title_ = make("div", { className: "title" });
  row.line = make("div", { className: "line" });
  row.open = make("button", { type: "button", textContent: "Open", hidden: true, onclick: () => show(song) });
  row.drop = make("button", { type: "button", className: "quiet", textContent: "Delete", onclick: () => remove(song) });
  row.bar = make("progress", { max: 1 });
  row.append(row.title_, make("div", { className: "buttons" }, row.open, row.drop), row.line, row.bar);
  return row;
}

function showSong(song) {
  const { row, state } = song;
  if (!row) return;
  const title = state?.title ?? song.name, busy = ["waiting", "running", "uploading"].includes(state?.state ?? "uploading");
  row.title_.textContent = title;
  row.title_.title = title;
  const text = song.problem ?? describe(song);
  if (row.line.textContent !== text) row.line.textContent = text;
  row.line.classList.toggle("wrong", Boolean(song.problem) || state?.state === "failed");
  row.open.hidden = !state?.facts?.desk || player.song === song;
  row.open.setAttribute("aria-label", `Open ${title}`);
  row.drop.textContent = busy ? "Cancel" : "Delete";
  row.drop.setAttribute("aria-label", `${row.drop.textContent} ${title}`);
  row.bar.hidden = !busy || state?.state === "waiting";
  row.bar.value = state?.state === "running" ? state.progress : (song.sent ?? state?.received ?? 0) / song.bytes;
  row.bar.setAttribute("aria-label", `Progress of ${title}`);
}

// A song's state in words.
function describe({ state, sending: isSent, sent, bytes }) {
  if (!state || state.state === "uploading") {
    const share = Math.floor((100 * (sent ?? state?.received ?? 0)) / bytes);
    if (isSent) return share || sent !== undefined ? `Sending: ${share} %` : "Waiting to be sent";
    return state ? `Sending stopped at ${share} %. Choose the same file again to go on.` : "…";
  }
  if (state.state === "failed") return state.note;
  if (state.state === "waiting") return `${place(state.ahead)}, ${minutes(state.left)} until it is done`;
  if (state.state === "running") return `${state.stage || "Starting"}: ${Math.round(100 * state.progress)} %, ${minutes(state.left)} left`;
  const isMute = state.facts?.absent?.length && !state.facts.tempo; // else there is a tempo with the notes
  return `Ready${isMute ? ", but no notes were found in it" : ""}. It will be deleted ${when(state.deleted)}.`;
}

const place = (ahead) => (ahead ? `${ahead} song${ahead > 1 ? "s" : ""} before yours` : "Next in the queue");
const minutes = (seconds) => (seconds < 50 ? `about ${Math.max(5, Math.ceil(seconds / 10) * 10)} s` : `about ${Math.ceil(seconds / 60)} min`);

function when(seconds) {
  const date = new Date(1000 * seconds), time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const days = [0, 1].map((ahead) => new Date(new Date().setDate(new Date().getDate() + ahead)).toDateString());
  const day = ["today", "tomorrow"][days.indexOf(date.toDateString())];
  return `${day ?? `on ${date.toLocaleDateString([], { day: "numeric", month: "long" })}`} at ${time}`;
}

// Open a song, if it is still there.
async function show(song) {
  await refresh(song);
  if (songs.includes(song)) await player.open(song, true);
}

async function remove(song) {
  if (song.state?.state === "done" && !confirm(`Delete ${song.state.title} from the server?`)) return;
  try {
    await ask("DELETE", pathOf(song), { key: song.key });
  } catch (error) {
    if (error.status !== 404) return say(`It could not be deleted: ${error.message}`, true);
  }
  forget(song);
  say(`${song.state?.title ?? song.name} is deleted.`);
}

// Ask how far a song is. One that was deleted is forgotten.
async function refresh(song) {
  try {
    song.state = await (await ask("GET", pathOf(song), { key: song.key })).json();
  } catch (error) {
    if (error.status === 404) {
      forget(song);
      say(`${song.state?.title ?? song.name ?? "The song"} is no longer on the server.`);
    }
    return;
  }
  showSong(song);
  if (song.state.facts.desk && (!player.song || player.song === song)) await player.open(song);
}

const NOT_OPENED = "The mixer could not be opened";

async function follow() {
  for (;;) {
    for (const song of [...songs]) {
      const isEnded = ["done", "failed"].includes(song.state?.state) && !(player.song === song && player.isBehind());
      if (isEnded || song.sending) continue;
      const wrong = await refresh(song).catch((error) => error);
      if (wrong) say(`${NOT_OPENED}: ${wrong.message}`, true); // and again
      else if ($("message").textContent.startsWith(NOT_OPENED)) say("");
    }
    await wait(document.hidden ? POLL_HIDDEN : POLL);
  }
}

// ------------------------------------------------------------------------------------------------------- the player

// What mixer.js asks of a widget's model: values by name, and events when they change.
class DeskModel {
  constructor(values) {
    this.values = values;
    this.listeners = new Map();
  }
  get(name) {
    return this.values[name];
  }
  set(name, value) {
    this.values[name] = value;
  }
  on(event, listener) {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }
  off(event, listener) {
    this.listeners.set(event, (this.listeners.get(event) ?? []).filter((other) => other !== listener));
  }
  put(name, value) {
    this.set(name, value);
    for (const listener of this.listeners.get(`change:${name}`) ?? []) listener();
  }
  save_changes() {
    player.keepSettings(this.values.settings);
  }
}

// A piece of sound as the server packs it (songs.py: write_piece): DataViews.
function unpack(buffer) {
  const head = new DataView(buffer), count = head.getUint32(0, true);
  let at = 4 * (1 + count);
  return Array.from({ length: count }, (_, i) => {
    const length = head.getUint32(4 * (1 + i), true);
    at += length;
    return new DataView(buffer, at - length, length);
  });
}

const player = {
  song: null,
  model: null, // of the mixer that is shown
  loading: null, // the song whose pieces are being loaded

  get engine() {
    return document.querySelector("#desk .muscomp-mixer")?.mixer;
  },

  // Whether the mixer, or the notes in it, are not there yet, but could be.
  isBehind() {
    return !this.model || Boolean(this.song.state.facts.notes && !this.hasNotes);
  },

  // Show a song, or what is new of it.
  async open(song, scroll = false) {
    if (this.song !== song) {
      this.close();
      this.song = song;
      songs.forEach(showSong);
    }
    this.showFacts();
    $("player").hidden = false;
    if (this.isBehind()) await this.render(song, Boolean(song.state.facts.notes));
    if (scroll) {
      $("player").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      $("player-title").focus({ preventScroll: true });
    }
    this.load(song);
  },

  close() {
    this.clean?.();
    Object.assign(this, { song: null, model: null, clean: null, hasNotes: false });
    $("desk").replaceChildren();
    $("player").hidden = true;
    songs.forEach(showSong);
  },

  // Make the mixer; where only the notes are new, it goes on where it was.
  async render(song, notes) {
    const desk = await (await ask("GET", pathOf(song, "/desk"), { key: song.key })).json();
    if (this.song !== song) return;
    const before = this.engine, was = before && { at: before.position, playing: before.playing, loop: before.loop, original: before.playsOriginal, speed: before.speed };
    const pieces = Object.entries(this.model?.values ?? {}).filter(([name]) => name.startsWith("piece_"));
    const settings = Object.fromEntries(desk.names.map((name) => [name, { ...DEFAULTS, ...song.settings?.[name] }]));
    if (!notes) for (const name of desk.names) settings[name].midi = false;
    this.clean?.();
    $("desk").replaceChildren();
    this.model = new DeskModel({ song: desk, settings, ...Object.fromEntries(pieces) });
    this.hasNotes = notes;
    this.clean = mixer.render({ model: this.model, el: $("desk") });
    if (!was) return;
    Object.assign(this.engine, { loop: was.loop });
    this.engine.setOriginal(was.original);
    this.engine.setSpeed(was.speed);
    this.engine.seek(was.at);
    if (was.playing) this.engine.play(was.at);
  },

  // Load the pieces that there are and that the mixer does not have, one after the other.
  async load(song) {
    if (this.loading === song) return;
    this.loading = song;
    try {
      for (let k = 0; k < (song.state.facts.pieces ?? 0) && this.song === song; k++) {
        if (this.model.get(`piece_${k}`)) continue;
        const answer = await askUntilAnswered("GET", pathOf(song, `/pieces/${k}`), { key: song.key });
        const parts = unpack(await answer.arrayBuffer());
        if (this.song === song) this.model.put(`piece_${k}`, parts);
      }
    } catch (error) {
      say(`The sound could not be loaded: ${error.message}`, true);
    } finally {
      if (this.loading === song) this.loading = null;
    }
  },

  keepSettings(settings) {
    if (!this.song) return;
    this.song.settings = settings;
    keep();
  },

  showFacts() {
    const { song } = this, { state } = song, { facts, files } = state;
    $("player-title").textContent = state.title;
    const shown = [clock(facts.seconds), facts.tempo && `${facts.tempo} beats a minute`, facts.key];
    const chips = shown.filter(Boolean).map((text) => make("span", { textContent: text }));
    if (state.state === "running") chips.push(make("span", { className: "busy", textContent: facts.notes ? "The score is being written …" : facts.pieces ? "You can listen; the notes come later …" : "The sound is on its way …" }));
    if ($("facts").textContent !== chips.map((chip) => chip.textContent).join("")) $("facts").replaceChildren(...chips);
    const owner = state.owner, link = (id, name) => {
      $(id).hidden = !(owner && (name in files || (name === "all.zip" && state.state === "done")));
      $(id).href = fileOf(song, name);
      $(id).download = "";
    };
    link("zip", "all.zip");
    link("midi", "notes.mid");
    link("score", "score.musicxml");
    $("mix").hidden = $("share").hidden = !owner;
    const stems = Object.keys(files).filter((name) => name.endsWith(".flac"));
    $("stems").hidden = !owner || !stems.length;
    if ($("stems").dataset.of !== `${song.id}${stems}`) {
      $("stems").dataset.of = `${song.id}${stems}`;
      $("stems").querySelector("ul").replaceChildren(...stems.map((name) =>
        make("li", {}, make("a", { href: fileOf(song, name), download: "", textContent: pretty(name.replace(".flac", "")) }))));
    }
  },

  // Let the server mix the files as the mixer is set: these are what the mixer's sound was compressed from.
  mix() {
    const { gain, pan, mute, solo } = DEFAULTS;
    const settings = Object.fromEntries(Object.entries(this.model.get("settings")).map(([name, values]) =>
      [name, Object.fromEntries(Object.keys({ gain, pan, mute, solo }).map((key) => [key, values[key]]))]));
    say("The mix is being made; the download begins in a moment.");
    make("a", { href: `${fileOf(this.song, "mix.flac")}&settings=${encodeURIComponent(JSON.stringify(settings))}`, download: "" }).click();
  },

  async share() {
    const link = `${location.origin}${location.pathname}#listen=${this.song.id}.${this.song.listen}`;
    try {
      await navigator.clipboard.writeText(link);
      say("The link is copied. Whoever has it can listen, until the song is deleted.");
    } catch {
      prompt("Whoever has this link can listen, until the song is deleted:", link);
    }
  },
};

// ---------------------------------------------------------------------------------------------------------- start

function listenToPage() {
  const drop = $("drop"), prevent = (event) => event.preventDefault();
  $("files").onchange = () => (add([...$("files").files]), ($("files").value = ""));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => (prevent(event), drop.classList.add("over")));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => (prevent(event), drop.classList.remove("over")));
  drop.addEventListener("drop", async (event) => add(await dropped(event.dataTransfer.items)));
  for (const name of ["dragover", "drop"]) window.addEventListener(name, prevent); // or a song beside the field replaces the page
  $("model").onchange = showOptions;
  $("length").onchange = $("keep").onchange = showChosen;
  $("keep-all").onclick = () => keepOnly(null);
  $("keep-drums").onclick = () => keepOnly("drums");
  $("keep-vocals").onclick = () => keepOnly("vocals");
  $("mix").onclick = () => player.mix();
  $("share").onclick = () => player.share();
  document.addEventListener("click", (event) => $("stems").contains(event.target) || ($("stems").open = false));
  window.addEventListener("hashchange", () => location.reload());
  window.addEventListener("storage", ({ key }) => key === STORE && !listened && followOtherTabs());
  window.addEventListener("beforeunload", (event) => songs.some((song) => song.sending) && event.preventDefault());
}

async function start() {
  listenToPage();
  site = await (await askUntilAnswered("GET", "api/site")).json();
  $("files").accept = [...site.suffixes, "audio/*"].join();
  $("limits").textContent = `MP3, WAV, FLAC, m4a and others, up to ${site.minutes} minutes and ${site.megabytes} MB` +
    (site.waiting ? ` · ${site.waiting} song${site.waiting > 1 ? "s" : ""} in the queue` : "");
  $("kept").textContent = `Everything is deleted after ${site.hours} hours, or when you press Delete.`;
  $("model").append(...site.models.map(({ name, label }) => make("option", { value: name, textContent: name === "shipped" ? "Mus-Comp's own, twelve instruments" : label })));
  showOptions();
  $("send").hidden = Boolean(listened);
  showList();
  await follow();
}

start();
