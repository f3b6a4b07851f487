// The mixing desk of notebook 05: plays all stems of a song on one clock. muscomp_lib/notebook/mixer.py explains what is
// sent to it, and why.
//
// From top to bottom: `Engine`, the audio, which is independent of the page; the synthesizer for notes; the files to
// download; and `Desk`, the user interface. Times are in seconds, gains in dB.

const AHEAD = 0.06; // s between a command and its audio, so that all sources are set up before the first one starts
const SMOOTH = 0.008; // s: time constant of gain changes, so that nothing clicks
const POLL = 100; // ms between checks of the position
const REFRESH = 2; // s before the running sources run out of audio, new ones with more replace them
const PEAK = 256; // samples per point of a drawn waveform
const STEP = 5; // s per press of an arrow key
const MIN_GAIN = -40, MAX_GAIN = 12;
const MIN_LOOP = 0.05; // s
const FLOOR = -48; // dB: the bottom of a level meter

const toFactor = (db) => 10 ** (db / 20);
const pretty = (name) => name.replaceAll("_", " ");

// ---------------------------------------------------------------------------------------------------- the audio

class Engine extends EventTarget {
  constructor(song, settings, midiFile) {
    super();
    Object.assign(this, { song, settings, midiFile });
    this.rate = song.rate;
    this.duration = song.frames / song.rate;
    const names = song.original ? [...song.names, null] : song.names; // null: the original
    this.parts = names.map((name, i) => ({
      name,
      buffer: new AudioBuffer({ length: song.frames, numberOfChannels: song.channels[i], sampleRate: song.rate }),
      peaks: new Float32Array(Math.ceil(song.frames / PEAK)),
      rms: song.rms[i],
      track: song.tracks[name],
      tones: null, // the notes as audio, synthesized on first use
    }));
    this.decoder = new OfflineAudioContext(1, 1, song.rate);
    this.arrived = Array(song.pieces).fill(false);
    this.requested = new Set();
    this.sources = [];
    this.playing = this.waiting = this.playsOriginal = false;
    this.at = 0; // the position while the song is paused
    this.loop = null; // [from, to]
    this.volume = 0; // dB, of the playback only; not part of the mix
    this.context = null; // made on first use: browsers allow audio only after a click or key
    this.channel = new BroadcastChannel("muscomp-mixer"); // reaches other cells, even where each has its own frame
    this.channel.onmessage = () => this.pause();
  }

  changed(what) {
    this.dispatchEvent(new CustomEvent("change", { detail: what }));
  }

  part(name) {
    return this.parts.find((part) => part.name === name);
  }

  // Decode piece `k`: one Ogg Vorbis file (DataView) per part.
  async load(k, files) {
    if (this.requested.has(k) || !files?.length) return;
    this.requested.add(k);
    const { piece, frames } = this.song;
    const first = k * piece, lead = Math.min(this.song.lead, first), n = Math.min(piece, frames - first);
    await Promise.all(this.parts.map(async (part, i) => {
      const { buffer, byteOffset, byteLength } = files[i];
      const decoded = await this.decoder.decodeAudioData(buffer.slice(byteOffset, byteOffset + byteLength));
      for (let c = 0; c < part.buffer.numberOfChannels; c++) {
        const samples = decoded.getChannelData(c).subarray(lead, lead + n);
        part.buffer.copyToChannel(samples, c, first);
        for (let j = 0; j < n; j++) {
          const slot = ((first + j) / PEAK) | 0, size = Math.abs(samples[j]);
          if (size > part.peaks[slot]) part.peaks[slot] = size;
        }
      }
    }));
    this.arrived[k] = true;
    this.changed("audio");
    if (this.waiting && this.ready(this.at)) this.play();
  }

  // Up to here the song has arrived without a gap.
  get frontier() {
    const gap = this.arrived.indexOf(false);
    return gap < 0 ? this.duration : (gap * this.song.piece) / this.rate;
  }

  get complete() {
    return !this.arrived.includes(false);
  }

  ready(at) {
    return this.complete || this.frontier > Math.max(at + AHEAD, this.loop ? this.loop[1] : 0);
  }

  audible(name) {
    const { mute, solo } = this.settings[name];
    return !mute && (solo || !Object.values(this.settings).some((setting) => setting.solo));
  }

  hasNotes(name) {
    return Boolean(this.part(name).track);
  }

  // The audio graph, in any kind of context: one channel strip per part, a bus for the remix.
  build(context) {
    const remix = new GainNode(context), out = new GainNode(context);
    remix.connect(out);
    const strips = this.parts.map(({ name }) => {
      const sound = new GainNode(context), tones = new GainNode(context, { gain: 0 });
      const fader = new GainNode(context, { channelCount: 2, channelCountMode: "explicit" });
      const meter = new AnalyserNode(context, { fftSize: 2048 });
      const split = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
      const join = new ChannelMergerNode(context, { numberOfInputs: 2 });
      const sides = [0, 1].map((side) => {
        const gain = new GainNode(context);
        split.connect(gain, side).connect(join, 0, side);
        return gain;
      });
      sound.connect(fader);
      tones.connect(fader);
      fader.connect(split);
      join.connect(meter).connect(name === null ? out : remix);
      return { name, sound, tones, fader, sides, meter };
    });
    return { context, strips, remix, out };
  }

  // Apply the settings to all gains; smoothly, unless nothing plays yet.
  adjust(graph, smoothly = true, original = this.playsOriginal) {
    const move = (param, value) => {
      if (smoothly) param.setTargetAtTime(value, graph.context.currentTime, SMOOTH);
      else param.value = value;
    };
    move(graph.remix.gain, original ? 0 : 1);
    for (const { name, sound, tones, fader, sides } of graph.strips) {
      if (name === null) {
        move(fader.gain, original ? 1 : 0);
        continue;
      }
      const { gain, pan, midi } = this.settings[name];
      move(fader.gain, this.audible(name) ? toFactor(gain) : 0);
      sides.forEach((side, i) => move(side.gain, Math.min(1, i ? 1 + pan : 1 - pan)));
      move(sound.gain, midi ? 0 : 1);
      move(tones.gain, midi ? 1 : 0);
    }
  }

  // One source per buffer, all with the same start, offset and loop, which keeps them in sync.
  start(graph, when, offset, loop = null) {
    const sources = [];
    this.parts.forEach((part, i) => {
      const { sound, tones } = graph.strips[i];
      for (const [buffer, into] of [[part.buffer, sound], [part.tones, tones]]) {
        if (!buffer) continue;
        const source = new AudioBufferSourceNode(graph.context, { buffer });
        if (loop) Object.assign(source, { loop: true, loopStart: loop[0], loopEnd: loop[1] });
        source.connect(into);
        source.start(when, offset);
        sources.push(source);
      }
    });
    return sources;
  }

  snap(seconds) {
    return Math.round(seconds * this.rate) / this.rate; // to a whole sample
  }

  play(at = this.at) {
    this.makeTones();
    this.at = Math.max(0, Math.min(at, this.duration));
    if (!this.ready(this.at)) {
      this.stopSources(0);
      Object.assign(this, { waiting: true, playing: false });
      return this.changed("state");
    }
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: this.rate });
      this.graph = this.build(this.context);
      this.master = new AnalyserNode(this.context, { fftSize: 2048 });
      this.loudness = new GainNode(this.context, { gain: toFactor(this.volume) });
      this.graph.out.connect(this.master).connect(this.loudness).connect(this.context.destination);
      this.adjust(this.graph, false);
    }
    this.context.resume();
    Object.assign(this, { waiting: false, playing: true });
    this.startAt(this.snap(this.context.currentTime + AHEAD), this.at);
    this.timer ??= setInterval(() => this.poll(), POLL);
    this.channel.postMessage("playing"); // all others pause
    return this.changed("state");
  }

  startAt(when, at) {
    if (this.loop && (at < this.loop[0] || at >= this.loop[1])) at = this.loop[0];
    this.stopSources(when);
    this.from = this.snap(at);
    this.startedAt = when;
    this.loaded = this.frontier; // running sources may not play what arrives later
    this.sources = this.start(this.graph, when, this.from, this.loop);
  }

  stopSources(when) {
    for (const source of this.sources) source.stop(when);
    this.sources = [];
  }

  pause() {
    if (!this.playing && !this.waiting) return;
    if (this.playing) this.at = this.position;
    Object.assign(this, { playing: false, waiting: false });
    this.stopSources(0);
    clearInterval(this.timer);
    this.timer = null;
    this.context?.suspend();
    this.changed("state");
  }

  toggle() {
    this.playing || this.waiting ? this.pause() : this.play();
  }

  seek(at) {
    at = Math.max(0, Math.min(at, this.duration));
    if (this.playing || this.waiting) return this.play(at);
    this.at = at;
    return this.changed("state");
  }

  // Repeat [from, to]; null: no loop.
  setLoop(region) {
    const at = this.position;
    if (region) {
      const [from, to] = [Math.min(...region), Math.max(...region)].map((t) => this.snap(Math.max(0, Math.min(t, this.duration))));
      region = to - from < MIN_LOOP ? null : [from, to];
    }
    this.loop = region;
    this.seek(region && (at < region[0] || at >= region[1]) ? region[0] : at);
  }

  // The position in the song at a time of the context's clock.
  songTime(time) {
    const at = this.from + Math.max(0, time - this.startedAt);
    if (!this.loop) return Math.min(at, this.duration);
    const [from, to] = this.loop;
    return at < to ? at : from + ((at - from) % (to - from));
  }

  // The position heard now: the clock is ahead of it by the output latency.
  get position() {
    return this.playing ? this.songTime(this.context.currentTime - (this.context.outputLatency || 0)) : this.at;
  }

  poll() {
    if (!this.playing) return;
    const now = this.songTime(this.context.currentTime);
    if (!this.loop && now >= this.duration) {
      this.pause();
      this.seek(0);
    } else if (this.loaded < this.duration && now > this.loaded - REFRESH) {
      if (this.frontier > this.loaded) this.restart();
      else if (now >= this.loaded) this.play(now); // which waits for more
    }
  }

  // Replace the sources; the new ones start, to the sample, where the old ones stop.
  restart() {
    const when = this.snap(this.context.currentTime + AHEAD);
    this.startAt(when, this.songTime(when));
  }

  set(name, changes) {
    this.settings = { ...this.settings, [name]: { ...this.settings[name], ...changes } };
    this.applySettings();
    this.changed("settings");
  }

  applySettings() {
    if (this.makeTones() && this.playing) this.restart();
    if (this.graph) this.adjust(this.graph);
  }

  setOriginal(original) {
    this.playsOriginal = original;
    if (this.graph) this.adjust(this.graph);
    this.changed("settings");
  }

  setVolume(volume) {
    this.volume = volume;
    this.loudness?.gain.setTargetAtTime(volume <= MIN_GAIN ? 0 : toFactor(volume), this.context.currentTime, SMOOTH);
  }

  // Synthesize the notes of all parts that play them; true if any were new.
  makeTones() {
    const missing = this.parts.filter((part) => part.track && !part.tones && this.settings[part.name].midi);
    for (const part of missing) part.tones = synthesize(part.track, this.song.frames, this.rate, part.rms);
    return missing.length > 0;
  }

  // The recent peak level of a part, or of the output.
  level(name) {
    const meter = name === undefined ? this.master : this.graph?.strips.find((strip) => strip.name === name)?.meter;
    if (!meter || !this.playing) return 0;
    const samples = new Float32Array(meter.fftSize);
    meter.getFloatTimeDomainData(samples);
    return samples.reduce((highest, x) => Math.max(highest, Math.abs(x)), 0);
  }

  // The remix as an AudioBuffer, rendered offline.
  async mixdown() {
    const context = new OfflineAudioContext(2, this.song.frames, this.rate);
    const graph = this.build(context);
    this.makeTones();
    this.adjust(graph, false, false);
    graph.out.connect(context.destination);
    this.start(graph, 0, 0);
    return context.startRendering();
  }

  close() {
    this.pause();
    this.channel.close();
    this.context?.close();
    this.parts = [];
  }
}

// ------------------------------------------------------------------------------------------------- notes as audio

const DECAYS = (program) => program < 16 || (program >= 24 && program < 40); // struck and plucked instruments; others sustain
const PARTIALS = 12;
const TABLE = 2048;
const KICKS = [35, 36], HATS = [42, 44, 46], CYMBALS = [49, 51, 52, 53, 55, 57, 59], TOMS = [41, 43, 45, 47, 48, 50];

// One track as an AudioBuffer with the loudness of its stem. Rendered instead of played by oscillators, so that notes
// start, loop and are mixed down in sync with the stems.
function synthesize(track, frames, rate, rms) {
  const buffer = new AudioBuffer({ length: frames, numberOfChannels: 1, sampleRate: rate });
  const out = buffer.getChannelData(0);
  for (const note of track.notes) (track.drums ? addDrumHit : addTone)(out, rate, note, track.program);
  const power = out.reduce((sum, x) => sum + x * x, 0) / frames;
  const scale = power > 0 ? rms / Math.sqrt(power) : 0;
  for (let i = 0; i < frames; i++) out[i] *= scale;
  return buffer;
}

const tables = new Map();

// One period of a tone with this many partials, each softer than the one below.
function wavetable(partials) {
  if (!tables.has(partials)) {
    tables.set(partials, Float32Array.from({ length: TABLE }, (_, i) => {
      let sum = 0;
      for (let k = 1; k <= partials; k++) sum += Math.sin((2 * Math.PI * k * i) / TABLE) / k ** 1.5;
      return sum;
    }));
  }
  return tables.get(partials);
}

function addTone(out, rate, [start, end, pitch, velocity], program) {
  const frequency = 440 * 2 ** ((pitch - 69) / 12);
  const table = wavetable(Math.max(1, Math.min(PARTIALS, Math.floor(rate / 2 / frequency))));
  const attack = 0.01, release = 0.06, decays = DECAYS(program);
  const first = Math.round(start * rate), n = Math.round((Math.max(end - start, 0.03) + release) * rate);
  for (let i = 0; i < n && first + i < out.length; i++) {
    const t = i / rate;
    const envelope = Math.min(1, t / attack, (n - i) / (release * rate));
    const level = (velocity / 127) * envelope * (decays ? Math.exp(-2.5 * t) : 0.7);
    out[first + i] += level * table[Math.floor(t * frequency * TABLE) % TABLE];
  }
}

// A drum hit: a falling tone for kick and toms, noise for the rest, high-passed for cymbals and hats.
function addDrumHit(out, rate, [start, , pitch, velocity]) {
  const kick = KICKS.includes(pitch), tom = TOMS.includes(pitch), hat = HATS.includes(pitch), cymbal = CYMBALS.includes(pitch);
  const decay = pitch === 46 ? 0.12 : hat ? 0.03 : cymbal ? 0.4 : kick || tom ? 0.15 : 0.1; // s
  const base = kick ? 50 : tom ? 70 + 12 * (pitch - 41) : 180; // Hz
  const toned = kick || tom ? 1 : hat || cymbal ? 0 : 0.4;
  const first = Math.round(start * rate), n = Math.round(6 * decay * rate);
  let seed = 1 + pitch, last = 0, phase = 0;
  for (let i = 0; i < n && first + i < out.length; i++) {
    const t = i / rate;
    seed = (seed * 48271) % 2147483647; // reproducible noise
    const noise = seed / 1073741823.5 - 1;
    const bright = hat || cymbal ? (noise - last) / 2 : noise;
    last = noise;
    phase += (2 * Math.PI * base * (1 + 1.5 * Math.exp(-t / 0.03))) / rate;
    out[first + i] += (velocity / 127) * Math.exp(-t / decay) * (toned * Math.sin(phase) + (1 - toned) * 0.6 * bright);
  }
}

// --------------------------------------------------------------------------------------------------------- files

// An AudioBuffer as a 16-bit WAV file; scaled down as a whole if it exceeds full scale.
function wav(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, c) => buffer.getChannelData(c));
  const highest = channels.reduce((top, samples) => samples.reduce((m, x) => Math.max(m, Math.abs(x)), top), 1);
  const size = 2 * channels.length * buffer.length;
  const file = new DataView(new ArrayBuffer(44 + size));
  const text = (at, word) => [...word].forEach((letter, i) => file.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"), text(8, "WAVEfmt "), text(36, "data");
  file.setUint32(4, 36 + size, true);
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true); // integers
  file.setUint16(22, channels.length, true);
  file.setUint32(24, buffer.sampleRate, true);
  file.setUint32(28, buffer.sampleRate * 2 * channels.length, true);
  file.setUint16(32, 2 * channels.length, true);
  file.setUint16(34, 16, true);
  file.setUint32(40, size, true);
  const samples = new Int16Array(file.buffer, 44); // WAV is little-endian, as are all machines browsers run on
  for (let c = 0; c < channels.length; c++) {
    for (let i = 0; i < buffer.length; i++) {
      samples[i * channels.length + c] = Math.max(-32768, Math.min(32767, Math.round((channels[c][i] / highest) * 32768)));
    }
  }
  return new Uint8Array(file.buffer);
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

// Files (name, bytes) as an uncompressed zip file: audio hardly compresses.
function zip(files) {
  const blobs = [], directory = [];
  let offset = 0;
  for (const [name, bytes] of files) {
    let crc = -1;
    for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    const label = new TextEncoder().encode(name);
    const fields = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [0x21, 2], [~crc >>> 0, 4], [bytes.length, 4], [bytes.length, 4], [label.length, 2], [0, 2]];
    const local = packed([[0x04034b50, 4], ...fields]);
    directory.push(packed([[0x02014b50, 4], [20, 2], ...fields, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), label);
    blobs.push(local, label, bytes);
    offset += local.length + label.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = [[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [offset, 4], [0, 2]];
  return new Blob([...blobs, ...directory, packed(end)], { type: "application/zip" });
}

// Numbers as little-endian bytes: [value, number of bytes] each.
function packed(fields) {
  return Uint8Array.from(fields.flatMap(([value, n]) => Array.from({ length: n }, (_, k) => (value >>> (8 * k)) & 255)));
}

// The bytes of a file to download: "mix", "midi" or a stem's name.
async function file(engine, kind) {
  if (kind === "mix") return wav(await engine.mixdown());
  if (kind === "midi") return new Uint8Array(engine.midiFile.buffer, engine.midiFile.byteOffset, engine.midiFile.byteLength);
  return wav(engine.part(kind).buffer);
}

async function allFiles(engine) {
  const files = [[`${engine.song.title}.wav`, await file(engine, "mix")]];
  for (const name of engine.song.names) files.push([`${name}.wav`, await file(engine, name)]);
  if (engine.midiFile?.byteLength) files.push([`${engine.song.title}.mid`, await file(engine, "midi")]);
  return zip(files);
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// ------------------------------------------------------------------------------------------------------ the desk

// An element with attributes (and `on...` listeners) and children.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const button = (text, label, onclick, more = {}) =>
  make("button", { type: "button", "aria-label": label, title: label, onclick, ...more }, text);

function slider(label, min, max, step, value, oninput, format) {
  const input = make("input", { type: "range", min, max, step, value, "aria-label": label, oninput: () => show(oninput(Number(input.value))) });
  const show = () => input.setAttribute("aria-valuetext", format(Number(input.value)));
  input.put = (number) => ((input.value = number), show());
  input.put(value);
  return input;
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const spoken = (seconds) => `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
const formatGain = (db) => (db <= MIN_GAIN ? "silent" : `${db > 0 ? "+" : db < 0 ? "−" : ""}${Math.abs(db).toFixed(0)} dB`);
const formatPan = (pan) => (Math.abs(pan) < 0.02 ? "centre" : `${Math.round(Math.abs(pan) * 100)} % ${pan < 0 ? "left" : "right"}`);

function drawWave(canvas, part, engine, colour, loudest) {
  const { width, height } = canvas, draw = canvas.getContext("2d");
  draw.clearRect(0, 0, width, height);
  draw.fillStyle = colour;
  const per = part.peaks.length / width;
  for (let x = 0; x < width; x++) {
    let top = 0;
    for (let i = Math.floor(x * per); i < Math.max((x + 1) * per, Math.floor(x * per) + 1); i++) top = Math.max(top, part.peaks[i] || 0);
    const size = Math.max(1, Math.sqrt(top / loudest) * height); // the root makes soft parts visible, too
    draw.fillRect(x, (height - size) / 2, 1, size);
  }
  const arrived = (engine.frontier / engine.duration) * width;
  draw.globalAlpha = 0.15;
  draw.fillRect(arrived, 0, width - arrived, height);
  draw.globalAlpha = 1;
}

function drawRoll(canvas, track, engine, colour) {
  const { width, height } = canvas, draw = canvas.getContext("2d");
  draw.clearRect(0, 0, width, height);
  if (!track?.notes.length) return;
  const pitches = track.notes.map((note) => note[2]);
  const low = Math.min(...pitches) - 1, high = Math.max(...pitches) + 1, thick = Math.max(2, height / (high - low + 1));
  draw.fillStyle = colour;
  for (const [start, end, pitch, velocity] of track.notes) {
    draw.globalAlpha = 0.45 + (0.55 * velocity) / 127;
    const x = (start / engine.duration) * width;
    const length = Math.max(1.5, ((Math.max(end, start + (track.drums ? 0.05 : 0)) - start) / engine.duration) * width - 0.5);
    draw.fillRect(x, ((high - pitch) / (high - low + 1)) * height, length, thick);
  }
  draw.globalAlpha = 1;
}

function fitToScreen(canvas) {
  const dots = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * dots), Math.round(canvas.clientHeight * dots)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return width > 0;
}

class Desk {
  constructor(model) {
    this.model = model;
    this.song = model.get("song");
    this.engine = new Engine(this.song, model.get("settings"), model.get("midi_file"));
    this.anyNotes = Object.keys(this.song.tracks).length > 0;
    this.frame = null; // the scheduled redraw of the position, while playing
    this.cleanups = [() => this.engine.close(), () => cancelAnimationFrame(this.frame)];
    this.strips = this.song.names.map((name, i) => this.strip(name, i));
    this.rows = make("div", { class: "rows" }, this.ruler(), ...this.strips.map(({ row }) => row));
    this.root = make("div", { class: "muscomp-mixer", role: "region", "aria-label": `Mixer: ${pretty(this.song.title)}`, tabindex: 0 },
      this.bar(), this.rows, this.hint());
    this.root.mixer = this.engine; // for debugging from the browser's console, and tests
    this.strips.forEach(({ lane }) => this.handlePointer(lane));
    this.handleKeys();
    this.followEngine();
    this.followPython();
    this.showSettings();
    this.showState();
  }

  close() {
    this.cleanups.forEach((cleanup) => cleanup());
  }

  listen(target, event, handler, capture = false) {
    target.addEventListener(event, handler, capture);
    this.cleanups.push(() => target.removeEventListener(event, handler, capture));
  }

  // The toolbar.
  bar() {
    const { engine, song } = this;
    this.time = make("span", { class: "time" });
    this.play = button("▶\uFE0E Play", "Play (space)", () => engine.toggle(), { class: "play" });
    this.remix = button("Remix", "Play the remix (O)", () => engine.setOriginal(false));
    this.original = button("Original", "Play the original (O)", () => engine.setOriginal(true));
    this.master = make("span", { class: "meter wide", "aria-hidden": "true" }, make("i"));
    const source = make("span", { class: "group joined", role: "group", "aria-label": "Playback source" }, this.remix, this.original);
    const volume = slider("Volume", MIN_GAIN, 6, 1, 0, (db) => engine.setVolume(db), formatGain);
    const reset = button("Reset", "Reset all gains, pans, mutes and solos", () => {
      for (const name of song.names) engine.set(name, { gain: 0, pan: 0, mute: false, solo: false, midi: false });
    });
    return make("div", { class: "bar" }, this.play, this.time, ...(song.original ? [source] : []),
      make("label", { class: "volume" }, "Volume ", volume), this.master, reset, this.downloads());
  }

  downloads() {
    const { engine, song } = this;
    const one = (text, label, what, name, get) => button(text, label, () => this.download(what, name, get));
    const mix = one("Mix", "Download the mix with the current settings (WAV)", "The mix is", `${song.title}.wav`, () => file(engine, "mix"));
    const midi = one("MIDI", "Download the MIDI file", "The MIDI file is", `${song.title}.mid`, () => file(engine, "midi"));
    const all = one("All", "Download the mix, all stems and the MIDI file (zip)", "All files are", `${song.title}.zip`, () => allFiles(engine));
    this.downloadable = [mix, midi, all];
    return make("span", { class: "group", role: "group", "aria-label": "Downloads" }, "⤓ ", mix,
      ...(engine.midiFile?.byteLength ? [midi] : []), all);
  }

  async download(what, name, get) {
    this.status.textContent = `Preparing ${name} …`;
    await new Promise((resume) => setTimeout(resume, 20)); // so that the page shows it first
    const content = await get();
    save(content instanceof Blob ? content : new Blob([content]), name);
    this.status.textContent = `${what} downloaded.`;
  }

  // The row with the position slider.
  ruler() {
    const { engine } = this;
    this.status = make("span", { class: "status", role: "status" });
    this.position = slider("Position in the song", 0, engine.duration, 0.1, 0, (at) => engine.seek(at), (at) => `${spoken(at)} of ${spoken(engine.duration)}`);
    const unloop = button("End loop", "Continue after the loop (Escape)", () => engine.setLoop(null), { class: "unloop" });
    return make("div", { class: "strip ruler" }, make("div", { class: "controls" }, this.status, unloop), make("div"), make("div", { class: "lane" }, this.position));
  }

  // The row of one stem: its controls, its level, and its waveform above its notes.
  strip(name, i) {
    const { engine, song } = this;
    const colour = `oklch(0.64 0.16 ${Math.round((i * 360) / song.names.length + 240) % 360})`; // the same lightness for every hue
    const label = pretty(name);
    const strip = { name, colour, ...this.controls(name, label), ...this.lane(name, label) };
    strip.meter = make("div", { class: "meter", "aria-hidden": "true" }, make("i"));
    strip.row = make("div", { class: "strip", role: "group", "aria-label": label, "data-name": name, style: `--colour: ${colour}` },
      strip.controls, strip.meter, strip.lane);
    return strip;
  }

  controls(name, label) {
    const { engine } = this;
    const flip = (key) => () => engine.set(name, { [key]: !engine.settings[name][key] });
    const keys = {
      mute: button("M", `Mute ${label}`, flip("mute")),
      solo: button("S", `Solo ${label}`, flip("solo")),
      midi: button("MIDI", `Play the notes of ${label} in place of its sound`, flip("midi"), { disabled: !engine.hasNotes(name) }),
    };
    const gain = slider(`Gain of ${label}`, MIN_GAIN, MAX_GAIN, 1, 0, (db) => engine.set(name, { gain: db }), formatGain);
    const pan = slider(`Pan of ${label}`, -1, 1, 0.05, 0, (value) => engine.set(name, { pan: value }), formatPan);
    const value = make("output", { "aria-hidden": "true" });
    const download = button("⤓", `Download ${label} (WAV)`, () => this.download(`${label} is`, `${name}.wav`, () => file(engine, name)), { class: "download" });
    const controls = make("div", { class: "controls" },
      make("span", { class: "name", title: label }, label),
      make("span", { class: "group joined" }, keys.mute, keys.solo, ...(this.anyNotes ? [keys.midi] : [])),
      download,
      make("span", { class: "faders" }, gain, value, make("span", { class: "side" }, "L"), pan, make("span", { class: "side" }, "R")));
    return { keys, gain, pan, value, download, controls };
  }

  lane(name, label) {
    const waves = make("canvas", { class: "wave", role: "img", "aria-label": `Waveform of ${label}` });
    const count = this.engine.part(name).track?.notes.length ?? 0;
    const roll = this.anyNotes ? make("canvas", { class: "roll", role: "img", "aria-label": `Piano roll of ${label}: ${count} notes` }) : null;
    const lane = make("div", { class: "lane" }, waves, ...(roll ? [roll] : []), make("div", { class: "region" }), make("div", { class: "head" }));
    return { waves, roll, lane };
  }

  hint() {
    return make("div", { class: "hint" }, "Click a waveform to jump there, drag to loop. Keys: space plays, ← → move 5 s, [ and ] set the loop, Escape ends it, " +
      "M and S mute and solo the row in focus" + (this.song.original ? ", O switches between remix and original." : "."));
  }

  // A click jumps there, a drag loops.
  handlePointer(lane) {
    const { engine } = this;
    const at = (event) => {
      const { left, width } = lane.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - left) / width)) * engine.duration;
    };
    let from = null, startX = 0;
    const dragged = (event) => Math.abs(event.clientX - startX) > 4;
    this.listen(lane, "pointerdown", (event) => {
      if (event.button) return;
      [from, startX] = [at(event), event.clientX];
      lane.setPointerCapture(event.pointerId);
    });
    this.listen(lane, "pointermove", (event) => {
      if (from !== null && dragged(event)) this.showLoop([from, at(event)]);
    });
    this.listen(lane, "pointercancel", () => ((from = null), this.showState()));
    this.listen(lane, "pointerup", (event) => {
      if (from === null) return;
      const region = [from, at(event)];
      from = null;
      if (dragged(event)) return engine.setLoop(region);
      if (engine.loop && (region[0] < engine.loop[0] || region[0] >= engine.loop[1])) engine.loop = null;
      engine.seek(region[0]);
    });
  }

  handleKeys() {
    // JupyterLab uses letters for its own commands (M makes a Markdown cell), except where this attribute is set.
    this.listen(window, "keydown", (event) => {
      this.root.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
    }, true);
    this.listen(this.root, "keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const actions = this.actionsFor(event.target);
      const action = actions[event.key] ?? actions[event.key.toLowerCase()];
      event.stopPropagation();
      if (!action) return;
      event.preventDefault();
      action();
    });
  }

  // What the keys do while `target` has the focus. Keys that a control uses itself are left to it.
  actionsFor(target) {
    const { engine, song } = this;
    const name = target.closest("[data-name]")?.dataset.name;
    const isSlider = target.matches("input"), isButton = target.matches("button");
    const setting = name && engine.settings[name];
    return {
      " ": isButton ? null : () => engine.toggle(),
      ArrowLeft: isSlider ? null : () => engine.seek(engine.position - STEP),
      ArrowRight: isSlider ? null : () => engine.seek(engine.position + STEP),
      Home: isSlider ? null : () => engine.seek(0),
      "[": () => engine.setLoop([engine.position, Math.max(engine.loop?.[1] ?? 0, engine.position + 1)]),
      "]": () => engine.setLoop([Math.min(engine.loop?.[0] ?? 0, engine.position - 1), engine.position]),
      Escape: engine.loop ? () => engine.setLoop(null) : null,
      m: name ? () => engine.set(name, { mute: !setting.mute }) : null,
      s: name ? () => engine.set(name, { solo: !setting.solo }) : null,
      o: song.original ? () => engine.setOriginal(!engine.playsOriginal) : null,
    };
  }

  followEngine() {
    const { engine, model } = this;
    this.listen(engine, "change", ({ detail }) => {
      if (detail === "state") this.showState();
      if (detail === "audio") this.showAudio();
      if (detail === "settings") {
        this.showSettings();
        model.set("settings", engine.settings);
        model.save_changes();
      }
    });
    const resized = new ResizeObserver(() => this.showAudio());
    resized.observe(this.rows);
    this.cleanups.push(() => resized.disconnect());
  }

  // Updates from Python: pieces of the audio, and changed settings.
  followPython() {
    const { engine, model } = this;
    const listen = (event, handler) => {
      model.on(event, handler);
      this.cleanups.push(() => model.off(event, handler));
    };
    for (let k = 0; k < this.song.pieces; k++) {
      const load = () => engine.load(k, model.get(`piece_${k}`)).catch(() => {
        this.status.textContent = "This browser cannot decode Ogg Vorbis. Use a current Chrome, Edge or Firefox, or Safari 18.4 or later.";
      });
      listen(`change:piece_${k}`, load);
      load();
    }
    listen("change:settings", () => {
      engine.settings = model.get("settings");
      engine.applySettings();
      this.showSettings();
    });
  }

  // Highlight a region in all lanes; null: none.
  showLoop(region) {
    const { root, engine } = this;
    root.classList.toggle("loops", Boolean(region));
    const [from, to] = region ? [Math.min(...region), Math.max(...region)] : [0, 0];
    root.style.setProperty("--from", from / engine.duration);
    root.style.setProperty("--to", to / engine.duration);
  }

  showPosition() {
    const { engine } = this, at = engine.position;
    this.root.style.setProperty("--at", engine.duration ? at / engine.duration : 0);
    this.time.textContent = `${clock(at)} / ${clock(engine.duration)}`;
    if (document.activeElement !== this.position || engine.playing) this.position.put(at);
    const show = (meter, level) => {
      const db = 20 * Math.log10(level + 1e-9);
      meter.style.setProperty("--level", Math.max(0, Math.min(1, 1 - db / FLOOR)));
      meter.classList.toggle("over", level > 1);
    };
    for (const { name, meter } of this.strips) show(meter, engine.playsOriginal ? 0 : engine.level(name));
    show(this.master, engine.level());
    this.frame = engine.playing ? requestAnimationFrame(() => this.showPosition()) : null;
  }

  showState() {
    const { engine, play } = this, active = engine.playing || engine.waiting;
    play.textContent = active ? "❚❚ Pause" : "▶\uFE0E Play";
    play.setAttribute("aria-label", active ? "Pause (space)" : "Play (space)");
    this.status.textContent = engine.waiting ? "Waiting for the audio …"
      : engine.loop ? `Loop ${clock(engine.loop[0])} to ${clock(engine.loop[1])}` : "";
    this.showLoop(engine.loop);
    if (this.frame === null) this.showPosition();
  }

  showSettings() {
    const { engine } = this;
    this.remix.setAttribute("aria-pressed", !engine.playsOriginal);
    this.original.setAttribute("aria-pressed", engine.playsOriginal);
    this.root.classList.toggle("original", engine.playsOriginal);
    for (const { name, row, keys, gain, pan, value } of this.strips) {
      const setting = engine.settings[name];
      for (const [key, element] of Object.entries(keys)) element.setAttribute("aria-pressed", setting[key]);
      gain.put(setting.gain);
      pan.put(setting.pan);
      value.textContent = formatGain(setting.gain);
      row.classList.toggle("silent", !engine.audible(name));
      row.classList.toggle("notes", setting.midi);
    }
  }

  showAudio() {
    const { root, engine } = this;
    const shades = getComputedStyle(root).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    root.style.colorScheme = shades.reduce((sum, shade) => sum + shade) > 384 ? "dark" : "light"; // for the sliders
    const loudest = Math.max(1e-3, ...this.strips.map(({ name }) => engine.part(name).peaks.reduce((a, b) => Math.max(a, b), 0)));
    for (const { name, waves, roll, colour } of this.strips) {
      if (fitToScreen(waves)) drawWave(waves, engine.part(name), engine, colour, loudest);
      if (roll && fitToScreen(roll)) drawRoll(roll, engine.part(name).track, engine, colour);
    }
    root.classList.toggle("complete", engine.complete);
    for (const element of [...this.downloadable, ...this.strips.map(({ download }) => download)]) element.disabled = !engine.complete;
  }
}

function render({ model, el }) {
  const desk = new Desk(model);
  el.append(desk.root);
  return () => desk.close();
}

export default { render };
