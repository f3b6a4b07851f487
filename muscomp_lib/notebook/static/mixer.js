// The mixing desk of notebook 05: plays all stems of a song on one clock. muscomp_lib/notebook/mixer.py explains what is
// sent to it, and why.
//
// From top to bottom: `Engine`, the audio, which is independent of the page; slower playback; the synthesizer for notes; the
// files to download; and `Desk`, the user interface. Times are in seconds, gains in dB.

const AHEAD = 0.06; // s between a command and its audio, so that all sources are set up before the first one starts
const LOOKAHEAD = 2.5; // s of the song that are scheduled: timers of hidden pages fire once a second
const MARGIN = 0.5; // s that have to have arrived before playback starts
const KEPT = 3; // pieces that stay decoded: the one that plays, the next, and one that was played
const SMOOTH = 0.008; // s: time constant of gain changes, so that nothing clicks
const POLL = 100; // ms between checks of the position
const STEP = 5; // s per press of an arrow key
const MIN_GAIN = -40, MAX_GAIN = 12;
const MIN_LOOP = 0.05; // s
const FLOOR = -48; // dB: the bottom of a level meter
const SPEEDS = [1, 0.75, 0.5];
const SURE = 0.4; // likelihood: below it, most notes of separated stems are wrong (docs/results.md)
const HOP = 0.025, HOPS = 20; // s: of slower playback, and how many hops are scheduled at once: of less than MARGIN
const CLICK = { length: 0.03, decay: 0.006, beat: 1000, bar: 1500, gain: 0.5 }; // s, s, Hz, Hz: of the metronome

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
    this.parts = names.map((name) => ({
      name,
      peaks: new Uint8Array(Math.ceil(song.frames / song.peak)), // for drawing: 255 times the root of the level
      energy: 0, // sum of squares of what has arrived
      track: song.tracks[name],
      noteEnergy: null, // of the synthesized notes of the whole song, computed on first use
    }));
    this.withNotes = this.namesWithNotes();
    this.decoder = new OfflineAudioContext(1, 1, song.rate);
    this.files = Array(song.pieces).fill(null); // what has arrived of each piece: one Ogg Vorbis file per part
    this.decoded = new Map(); // the pieces near the playhead by number, the least recently used first
    this.sources = [];
    this.playing = this.waiting = this.playsOriginal = this.metronome = false;
    this.at = 0; // the position while the song is paused
    this.loop = null; // [from, to]
    this.speed = 1; // of playback, at the same pitch
    this.countsIn = false; // whether a bar of clicks comes before playback
    this.from = 0; // where playback started, and ...
    this.startedAt = null; // ... when, on the context's clock; null: not yet, as it is being decoded
    this.next = null; // the sample of the song to be scheduled next, and when, in samples of the context's clock
    this.starts = 0; // how often playback was started or stopped
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

  // Take piece `k` (DataViews): a file per part, the peaks of all parts, and their sums of squares.
  async load(k, files) {
    if (this.files[k] || !files?.length) return;
    const [peaks, energies] = files.slice(this.parts.length);
    const points = peaks.byteLength / this.parts.length;
    this.parts.forEach((part, i) => {
      part.peaks.set(new Uint8Array(peaks.buffer, peaks.byteOffset + i * points, points), (k * this.song.piece) / this.song.peak);
      part.energy += energies.getFloat32(4 * i, true);
    });
    this.files[k] = files;
    this.changed("audio");
    if (k === this.pieceOf(this.at * this.rate)) await this.piece(k).ready;
    if (this.waiting && this.hasArrived(this.at)) this.play();
  }

  // ---- pieces ----

  pieceOf(sample) {
    return Math.max(0, Math.min(Math.floor(sample / this.song.piece), this.song.pieces - 1));
  }

  lengthOf(k) {
    return Math.min(this.song.piece, this.song.frames - k * this.song.piece);
  }

  // Part `i` of piece `k` as an AudioBuffer.
  async decode(k, i) {
    const { buffer, byteOffset, byteLength } = this.files[k][i];
    const decoded = await this.decoder.decodeAudioData(buffer.slice(byteOffset, byteOffset + byteLength));
    const lead = Math.min(this.song.lead, k * this.song.piece), length = this.lengthOf(k);
    const sound = new AudioBuffer({ length, numberOfChannels: decoded.numberOfChannels, sampleRate: this.rate });
    for (let c = 0; c < sound.numberOfChannels; c++) {
      sound.copyToChannel(decoded.getChannelData(c).subarray(lead, lead + length), c);
    }
    return sound;
  }

  decodeAll(k) {
    return Promise.all(this.parts.map((_, i) => this.decode(k, i)));
  }

  // Piece `k`, whose `sounds` are there once it is `ready`; the least recently used are dropped.
  piece(k) {
    const piece = this.decoded.get(k) ?? { sounds: null, tones: [] };
    this.decoded.delete(k);
    this.decoded.set(k, piece);
    piece.ready ??= this.decodeAll(k).then((sounds) => (piece.sounds = sounds));
    for (const old of [...this.decoded.keys()].slice(0, -KEPT)) this.decoded.delete(old);
    return piece;
  }

  // Up to here the song has arrived without a gap.
  get frontier() {
    const gap = this.files.indexOf(null);
    return gap < 0 ? this.duration : (gap * this.song.piece) / this.rate;
  }

  get complete() {
    return !this.files.includes(null);
  }

  // What has to be there before playback starts at a position: [from, to].
  neededAt(at) {
    return this.repeats() ? this.loop : [at, Math.min(at + MARGIN, this.loop?.[1] ?? this.duration)];
  }

  hasArrived(at) {
    const [from, to] = this.neededAt(at);
    const last = this.pieceOf(to * this.rate - 1);
    for (let k = this.pieceOf(from * this.rate); k <= last; k++) if (!this.files[k]) return false;
    return true;
  }

  // Whether the loop is so short that sources repeat it themselves.
  repeats() {
    return this.speed === 1 && Boolean(this.loop) && (this.loop[1] - this.loop[0]) * this.rate <= this.song.piece;
  }

  audible(name) {
    const { mute, solo } = this.settings[name];
    return !mute && (solo || !Object.values(this.settings).some((setting) => setting.solo));
  }

  // By what a part is multiplied in the remix, or in its place in the original.
  factor(name, original = this.playsOriginal) {
    if (name === null) return Number(original);
    return this.audible(name) ? toFactor(this.settings[name].gain) : 0;
  }

  hasNotes(name) {
    return Boolean(this.part(name).track);
  }

  // The audio graph, in any kind of context: one channel strip per part, a bus for the remix.
  build(context) {
    const remix = new GainNode(context), out = new GainNode(context), click = new GainNode(context);
    remix.connect(out);
    click.connect(out);
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
    return { context, strips, remix, click, out };
  }

  // Apply the settings to all gains; smoothly, unless nothing plays yet.
  adjust(graph, smoothly = true, original = this.playsOriginal) {
    const move = (param, value) => {
      if (smoothly) param.setTargetAtTime(value, graph.context.currentTime, SMOOTH);
      else param.value = value;
    };
    move(graph.remix.gain, original ? 0 : 1);
    move(graph.click.gain, this.metronome ? CLICK.gain : 0);
    for (const { name, sound, tones, fader, sides } of graph.strips) {
      move(fader.gain, this.factor(name, original));
      if (name === null) continue;
      const { pan, midi } = this.settings[name];
      sides.forEach((side, i) => move(side.gain, Math.min(1, i ? 1 + pan : 1 - pan)));
      move(sound.gain, midi ? 0 : 1);
      move(tones.gain, midi ? 1 : 0);
    }
  }

  // Sources for samples `from` to `to` of a piece, all from sample `when` of the context's clock on, which keeps them in sync.
  start(graph, k, piece, from, to, when, loop = false) {
    const sources = [];
    const add = (buffer, into) => {
      if (!buffer) return;
      const source = new AudioBufferSourceNode(graph.context, { buffer, loop });
      source.connect(into);
      source.start(when / this.rate, from / this.rate);
      if (!loop && to < buffer.length) source.stop((when + to - from) / this.rate);
      source.onended = () => (this.sources = this.sources.filter((other) => other !== source));
      sources.push(source);
    };
    this.parts.forEach((part, i) => {
      add(piece.sounds[i], graph.strips[i].sound);
      add(this.tones(part, i, k, piece), graph.strips[i].tones);
    });
    if (graph === this.graph) add((piece.clicks ??= this.clicks(k * this.song.piece, this.lengthOf(k))), graph.click); // not in files
    return sources;
  }

  // Whether a part plays its notes.
  plays({ name, track }) {
    return Boolean(track) && this.settings[name].midi;
  }

  // The notes of a part in a piece as an AudioBuffer with the loudness of the part; null: it does not play them.
  tones(part, i, k, piece) {
    if (!this.plays(part)) return null;
    const { song, rate } = this, render = (n) => synthesize(part.track, n * song.piece, this.lengthOf(n), rate);
    if (part.noteEnergy === null) {
      part.noteEnergy = 0;
      for (let n = 0; n < song.pieces; n++) part.noteEnergy = render(n).reduce((sum, x) => sum + x * x, part.noteEnergy);
    }
    const scale = part.noteEnergy > 0 ? Math.sqrt(part.energy / part.noteEnergy) : 0;
    return (piece.tones[i] ??= asBuffer([render(k).map((x) => x * scale)], rate));
  }

  // The metronome from a sample of the song on, as an AudioBuffer; null: the beats are not known.
  clicks(first, frames) {
    const { beats, bars } = this.song;
    if (!beats.length) return null;
    const isBar = (beat) => bars.some((bar) => Math.abs(bar - beat) < 0.01);
    return this.clicksAt(beats.map((beat) => [(beat * this.rate - first) / this.speed, isBar(beat)]), frames);
  }

  // Clicks at [sample, whether a bar begins there], as an AudioBuffer.
  clicksAt(times, frames) {
    const out = new Float32Array(frames), { rate } = this;
    for (const [at, isBar] of times) {
      const from = Math.round(at), frequency = isBar ? CLICK.bar : CLICK.beat;
      for (let i = Math.max(0, -from); i < CLICK.length * rate && from + i < frames; i++) {
        out[from + i] += Math.exp(-i / rate / CLICK.decay) * Math.sin((2 * Math.PI * frequency * i) / rate);
      }
    }
    return asBuffer([out], rate);
  }

  // The beats of the bar that would end at a position, as in the bar there: where they are, and whether they begin a bar.
  barBefore(at) {
    const { bars, beats } = this.song, later = bars.findIndex((bar) => bar > at + 0.01);
    const b = Math.max(1, Math.min((later < 0 ? bars.length : later) - 1, bars.length - 2)); // before bar 1 may be a pickup
    const metre = Math.max(1, beats.filter((beat) => beat > bars[b] - 0.01 && beat < bars[b + 1] - 0.01).length);
    const period = (bars[b + 1] - bars[b]) / metre, first = Math.ceil((at - bars[b]) / period - metre - 0.01);
    return Array.from({ length: metre }, (_, i) => [bars[b] + (first + i) * period, (first + i) % metre === 0]);
  }

  snap(seconds) {
    return Math.round(seconds * this.rate) / this.rate; // to a whole sample
  }

  // Play from a position, after a bar of clicks if it `countsIn`.
  play(at = this.at, countsIn = false) {
    this.at = Math.max(0, Math.min(at, this.duration));
    if (!this.hasArrived(this.at)) {
      this.stopSources(0);
      Object.assign(this, { waiting: true, playing: false });
      return this.changed("state");
    }
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: this.rate });
      this.graph = this.build(this.context);
      this.master = new AnalyserNode(this.context, { fftSize: 2048 });
      this.loudness = new GainNode(this.context, { gain: toFactor(this.volume) });
      this.counter = new GainNode(this.context, { gain: CLICK.gain });
      this.counter.connect(this.graph.out);
      this.graph.out.connect(this.master).connect(this.loudness).connect(this.context.destination);
      this.adjust(this.graph, false);
    }
    this.context.resume();
    Object.assign(this, { waiting: false, playing: true });
    const begin = this.snap(this.context.currentTime + AHEAD);
    if (countsIn) this.countIn(begin);
    else this.startAt(begin, this.at);
    this.timer ??= setInterval(() => this.poll(), POLL);
    this.channel.postMessage("playing"); // all others pause
    return this.changed("state");
  }

  // Play a bar of clicks, and then the song.
  countIn(begin) {
    const { rate, speed, context } = this, beats = this.barBefore(this.at);
    const length = ((beats[1]?.[0] ?? this.at) - beats[0][0]) * beats.length; // of the bar
    const times = beats.map(([at, isBar]) => [((at - this.at + length) / speed) * rate, isBar]);
    const buffer = this.clicksAt(times, Math.round((length / speed) * rate));
    this.startAt(this.snap(begin + length / speed), this.at);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(this.counter);
    source.start(begin);
    this.sources.push(source);
  }

  // Play from a position at a time of the context's clock, or as soon as it is decoded.
  async startAt(when, at) {
    if (this.loop && (at < this.loop[0] || at >= this.loop[1])) at = this.loop[0];
    this.stopSources(when);
    this.from = this.snap(at);
    const sample = Math.round(at * this.rate), start = this.starts;
    const [from, to] = (this.repeats() || this.speed < 1 ? this.neededAt(at) : [at, at + 1 / this.rate]).map((t) => Math.round(t * this.rate));
    const pieces = [...new Set([from, to - 1].map((s) => this.pieceOf(s)))].map((k) => this.piece(k));
    if (pieces.some(({ sounds }) => !sounds)) {
      await Promise.all(pieces.map(({ ready }) => ready));
      if (start !== this.starts) return; // something else happened meanwhile
    }
    const k = this.pieceOf(from);
    pieces.forEach((piece, j) => this.parts.forEach((part, i) => this.tones(part, i, k + j, piece))); // takes its time at first
    when = Math.max(when, this.snap(this.context.currentTime + AHEAD / 2));
    this.startedAt = when;
    this.next = { sample, when: Math.round(when * this.rate) };
    if (this.repeats()) this.repeat(pieces, from, to);
    else this.schedule();
  }

  // Schedule what is decoded of the next seconds, from a loop's end on to its beginning.
  schedule() {
    const { song, rate } = this, horizon = (this.context.currentTime + LOOKAHEAD) * rate;
    const [begin, to] = this.loop ? this.loop.map((t) => Math.round(t * rate)) : [null, song.frames];
    while (this.next && this.next.when < horizon) {
      if (!(this.speed < 1 ? this.addSlowly(to) : this.add(to))) return;
      if (this.next.sample > to - 1) this.next = begin === null ? null : { sample: begin, when: this.next.when };
    }
  }

  // Schedule the rest of a piece, or of it what comes before sample `to`; false: it is not decoded yet.
  add(to) {
    const { sample, when } = this.next, k = this.pieceOf(sample), piece = this.files[k] && this.piece(k);
    if (!piece?.sounds) return false;
    const first = k * this.song.piece, end = Math.min(first + this.lengthOf(k), to);
    this.sources.push(...this.start(this.graph, k, piece, sample - first, end - first, when));
    this.next = { sample: end, when: when + end - sample };
    return true;
  }

  // The same at less than full speed, of some hops. All parts have the same hops, so that they stay in sync and add up.
  addSlowly(to) {
    const { rate, speed, song } = this, hop = Math.round(HOP * rate), { sample, on = sample, when } = this.next;
    const frames = Math.min(HOPS * hop, Math.ceil((to - sample) / speed)), n = Math.ceil(frames / hop);
    const k = this.pieceOf(Math.min(sample, on)), end = Math.ceil(sample + n * hop * speed) + 3 * hop; // hops reach so far
    const from = Math.max(k * song.piece, Math.min(Math.floor(sample), on) - 2 * hop);
    const last = [end, Math.min(to, sample + frames * speed)].map((at) => this.pieceOf(at - 1)).find((number) => this.files[number]);
    if (last === undefined) return false;
    const pieces = Array.from({ length: last - k + 1 }, (_, j) => this.piece(k + j));
    if (pieces.some(({ sounds }) => !sounds)) return false;
    const sounds = this.parts.map((_, i) => this.across(pieces.map((piece) => piece.sounds[i]), k, from, end));
    const tones = this.parts.map((part, i) => this.plays(part) && this.across(pieces.map((piece, j) => this.tones(part, i, k + j, piece)), k, from, end));
    const guide = new Float32Array(end - from);
    this.parts.forEach(({ name }, i) => {
      const factor = this.playsOriginal && name !== null ? 0 : this.factor(name);
      for (const channel of factor ? tones[i] || sounds[i] : []) channel.forEach((x, at) => (guide[at] += factor * x));
    });
    const hops = slowHops(guide, on - from, sample - from, n, speed, hop);
    const slowed = (channels) => channels && asBuffer(channels.map((samples) => fadeOver(samples, hops, hop)), rate);
    const piece = { sounds: sounds.map(slowed), tones: tones.map(slowed), clicks: this.clicks(sample, frames) };
    this.sources.push(...this.start(this.graph, k, piece, 0, frames, when));
    this.next = { sample: sample + frames * speed, on: from + hops.at(-1)[1] + hop, when: when + frames };
    return true;
  }

  // Samples `from` to `to` of the song by channel, from the buffers of successive pieces, the first of which is piece `k`.
  across(buffers, k, from, to) {
    const channels = Math.max(...buffers.map((buffer) => buffer.numberOfChannels));
    return Array.from({ length: channels }, (_, c) => {
      const samples = new Float32Array(to - from);
      buffers.forEach((buffer, j) => {
        const begin = (k + j) * this.song.piece, channel = buffer.getChannelData(Math.min(c, buffer.numberOfChannels - 1));
        samples.set(channel.subarray(Math.max(0, from - begin), Math.max(0, to - begin)), Math.max(0, begin - from));
      });
      return samples;
    });
  }

  // Play a short loop: one buffer per part, of one piece or of the end and the beginning of two, which repeats itself.
  repeat(pieces, from, to) {
    const k = this.pieceOf(from), join = (get) => asBuffer(this.across(pieces.map((piece, j) => get(piece, k + j)), k, from, to), this.rate);
    const sounds = this.parts.map((_, i) => join((piece) => piece.sounds[i]));
    const tones = this.parts.map((part, i) => this.tones(part, i, k, pieces[0]) && join((piece, n) => this.tones(part, i, n, piece)));
    const clicks = this.clicks(from, to - from);
    this.sources.push(...this.start(this.graph, k, { sounds, tones, clicks }, this.next.sample - from, to - from, this.next.when, true));
    this.next = null;
  }

  stopSources(when) {
    this.starts++;
    for (const source of this.sources) source.stop(when);
    Object.assign(this, { sources: [], startedAt: null, next: null });
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
    this.playing || this.waiting ? this.pause() : this.play(this.at, this.countsIn);
  }

  seek(at) {
    at = Math.max(0, Math.min(at, this.duration));
    if (this.playing || this.waiting) return this.play(at);
    this.at = at;
    const k = this.pieceOf(at * this.rate);
    if (this.files[k]) this.piece(k); // so that playback can start at once
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
    const at = this.from + (this.startedAt === null ? 0 : Math.max(0, time - this.startedAt) * this.speed);
    if (!this.loop) return Math.min(at, this.duration);
    const [from, to] = this.loop;
    return at < to ? at : from + ((at - from) % (to - from));
  }

  // The position heard now: the clock is ahead of it by the output latency.
  get position() {
    return this.playing ? this.songTime(this.context.currentTime - (this.context.outputLatency || 0)) : this.at;
  }

  poll() {
    if (!this.playing || this.startedAt === null) return;
    const { currentTime } = this.context;
    if (!this.loop && this.songTime(currentTime) >= this.duration) {
      this.pause();
      this.seek(0);
    } else {
      this.schedule();
      if (this.next && this.next.when <= currentTime * this.rate) this.play(this.next.sample / this.rate); // waits for more
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
    const before = this.withNotes;
    this.withNotes = this.namesWithNotes();
    if (this.playing && this.startedAt !== null && this.withNotes !== before) this.restart();
    if (this.graph) this.adjust(this.graph);
  }

  // The parts that play their notes, as one text.
  namesWithNotes() {
    return this.parts.filter((part) => this.plays(part)).map(({ name }) => name).join();
  }

  setOriginal(original) {
    this.playsOriginal = original;
    if (this.graph) this.adjust(this.graph);
    this.changed("settings");
  }

  setMetronome(on) {
    this.metronome = on;
    if (this.graph) this.adjust(this.graph);
    this.changed("settings");
  }

  setCountIn(on) {
    this.countsIn = on;
    this.changed("settings");
  }

  // Play at a share of the full speed; at the same pitch, and from the same place.
  setSpeed(speed) {
    const plays = this.playing && this.startedAt !== null, when = plays && this.snap(this.context.currentTime + AHEAD);
    const at = plays && this.songTime(when);
    this.speed = speed;
    if (plays) this.startAt(when, at);
    this.changed("settings");
  }

  setVolume(volume) {
    this.volume = volume;
    this.loudness?.gain.setTargetAtTime(volume <= MIN_GAIN ? 0 : toFactor(volume), this.context.currentTime, SMOOTH);
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
    const mix = new AudioBuffer({ length: this.song.frames, numberOfChannels: 2, sampleRate: this.rate });
    let first = 0;
    for await (const block of this.remix()) {
      for (const c of [0, 1]) mix.copyToChannel(block.getChannelData(c), c, first);
      first += block.length;
    }
    return mix;
  }

  // The remix, piece by piece.
  async *remix() {
    for (let k = 0; k < this.song.pieces; k++) {
      const context = new OfflineAudioContext(2, this.lengthOf(k), this.rate), graph = this.build(context);
      this.adjust(graph, false, false);
      graph.out.connect(context.destination);
      this.start(graph, k, { sounds: await this.decodeAll(k), tones: [] }, 0, this.lengthOf(k), 0);
      yield await context.startRendering();
    }
  }

  // One stem, piece by piece.
  async *stem(name) {
    const i = this.parts.indexOf(this.part(name));
    for (let k = 0; k < this.song.pieces; k++) yield await this.decode(k, i);
  }

  close() {
    this.pause();
    this.channel.close();
    this.context?.close();
    this.decoded.clear();
    Object.assign(this, { parts: [], files: [] });
  }
}

// ---------------------------------------------------------------------------------------------- slower, at one pitch

// The hops of a slower sound: WSOLA (Verhelst and Roelands 1993), by which waves go on at the same pitch. Each hop [from, to]
// is `hop` samples long and fades from the samples at `from`, which follow the hop before, to those at `to`: of the samples
// near `at`, the place in the song whose turn it is, those most like the ones at `from`.
// An onset is neither faded nor repeated, or each drum hit would be played twice: a hop that reaches over one does not fade
// (`to` is `from`), and none goes back behind one that was played. The aim lies a little before `at`, so that an onset, which
// is reached at full speed, is played on time.
function slowHops(guide, on, at, n, speed, hop) {
  const hops = [], attacks = onsets(guide, Math.round(hop / 5)), reach = hop >> 1;
  for (let from = on; hops.length < n; at += hop * speed) {
    const next = attacks.find((attack) => attack >= from) ?? Infinity;
    const last = attacks.findLast((attack) => attack < from) ?? -Infinity;
    const aim = Math.round(at - 2 * hop * (1 - speed));
    const lowest = Math.max(0, aim - reach, last + (reach >> 1));
    const highest = Math.min(Math.max(aim, lowest) + reach, next - hop);
    const fades = next >= from + hop && lowest <= highest;
    const to = fades ? mostAlike(guide, from, lowest, highest, hop) : from;
    hops.push([from, to]);
    from = to + hop;
  }
  return hops;
}

// Where blocks of samples begin that are far louder than the four before, of the slope, in which attacks stand out.
function onsets(guide, block) {
  const energies = Array.from({ length: Math.floor(guide.length / block) }, (_, b) => {
    let energy = 1e-6 * block;
    for (let i = Math.max(1, b * block); i < (b + 1) * block; i++) energy += (guide[i] - guide[i - 1]) ** 2;
    return energy;
  });
  const isOnset = (energy, b) => b >= 4 && energy > energies.slice(b - 4, b).reduce((sum, before) => sum + before);
  return energies.flatMap((energy, b) => (isOnset(energy, b) && !(b > 4 && isOnset(energies[b - 1], b - 1)) ? [b * block] : []));
}

// Where, from `lowest` to `highest`, the sound differs least from that at `from`; every fourth sample is enough to know.
function mostAlike(guide, from, lowest, highest, hop) {
  let best = lowest, least = Infinity;
  for (let to = lowest; to <= highest; to++) {
    let difference = 0;
    for (let i = 0; i < hop && difference < least; i += 4) difference += (guide[from + i] - guide[to + i]) ** 2;
    if (difference < least) [best, least] = [to, difference];
  }
  return best;
}

function fadeOver(samples, hops, hop) {
  const out = new Float32Array(hops.length * hop);
  const fade = Float32Array.from({ length: hop }, (_, i) => 0.5 - 0.5 * Math.cos((Math.PI * (i + 0.5)) / hop));
  hops.forEach(([from, to], j) => {
    for (let i = 0; i < hop; i++) out[j * hop + i] = samples[from + i] + fade[i] * (samples[to + i] - samples[from + i]);
  });
  return out;
}

// ------------------------------------------------------------------------------------------------- notes as audio

const DECAYS = (program) => program < 16 || (program >= 24 && program < 40); // struck and plucked instruments; others sustain
const PARTIALS = 12;
const TABLE = 2048;
const KICKS = [35, 36], HATS = [42, 44, 46], CYMBALS = [49, 51, 52, 53, 55, 57, 59], TOMS = [41, 43, 45, 47, 48, 50];

// A part of a track as samples. Rendered instead of played by oscillators, so that notes start, loop and are mixed down in
// sync with the stems.
function synthesize(track, first, frames, rate) {
  const out = new Float32Array(frames);
  for (const note of track.notes) {
    if (note[0] * rate < first + frames) (track.drums ? addDrumHit : addTone)(out, first, rate, note, track.program);
  }
  return out;
}

function asBuffer(channels, sampleRate) {
  const buffer = new AudioBuffer({ length: channels[0].length, numberOfChannels: channels.length, sampleRate });
  channels.forEach((samples, c) => buffer.copyToChannel(samples, c));
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

function addTone(out, begin, rate, [start, end, pitch, velocity], program) {
  const frequency = 440 * 2 ** ((pitch - 69) / 12);
  const table = wavetable(Math.max(1, Math.min(PARTIALS, Math.floor(rate / 2 / frequency))));
  const attack = 0.01, release = 0.06, decays = DECAYS(program);
  const first = Math.round(start * rate) - begin, n = Math.round((Math.max(end - start, 0.03) + release) * rate);
  for (let i = Math.max(0, -first); i < n && first + i < out.length; i++) {
    const t = i / rate;
    const envelope = Math.min(1, t / attack, (n - i) / (release * rate));
    const level = (velocity / 127) * envelope * (decays ? Math.exp(-2.5 * t) : 0.7);
    out[first + i] += level * table[Math.floor(t * frequency * TABLE) % TABLE];
  }
}

// A drum hit: a falling tone for kick and toms, noise for the rest, high-passed for cymbals and hats.
function addDrumHit(out, begin, rate, [start, , pitch, velocity]) {
  const kick = KICKS.includes(pitch), tom = TOMS.includes(pitch), hat = HATS.includes(pitch), cymbal = CYMBALS.includes(pitch);
  const decay = pitch === 46 ? 0.12 : hat ? 0.03 : cymbal ? 0.4 : kick || tom ? 0.15 : 0.1; // s
  const base = kick ? 50 : tom ? 70 + 12 * (pitch - 41) : 180; // Hz
  const toned = kick || tom ? 1 : hat || cymbal ? 0 : 0.4;
  const first = Math.round(start * rate) - begin, n = Math.round(6 * decay * rate);
  if (first + n <= 0) return;
  let seed = 1 + pitch, last = 0, phase = 0;
  for (let i = 0; i < n && first + i < out.length; i++) {
    const t = i / rate;
    seed = (seed * 48271) % 2147483647; // reproducible noise
    const noise = seed / 1073741823.5 - 1;
    const bright = hat || cymbal ? (noise - last) / 2 : noise;
    last = noise;
    phase += (2 * Math.PI * base * (1 + 1.5 * Math.exp(-t / 0.03))) / rate;
    if (first + i >= 0) out[first + i] += (velocity / 127) * Math.exp(-t / decay) * (toned * Math.sin(phase) + (1 - toned) * 0.6 * bright);
  }
}

// --------------------------------------------------------------------------------------------------------- files

// A 16-bit WAV file as Blobs, from AudioBuffers that `pieces()` gives twice; scaled down as a whole if it exceeds full scale.
async function wav(pieces, frames, rate, nChannels) {
  let highest = 1;
  for await (const piece of pieces()) {
    for (let c = 0; c < piece.numberOfChannels; c++) {
      highest = piece.getChannelData(c).reduce((top, x) => Math.max(top, Math.abs(x)), highest);
    }
  }
  const blobs = [new Blob([wavHeader(frames, rate, nChannels)])];
  for await (const piece of pieces()) {
    const samples = new Int16Array(piece.length * nChannels); // WAV is little-endian, as are all machines browsers run on
    for (let c = 0; c < nChannels; c++) {
      const channel = piece.getChannelData(Math.min(c, piece.numberOfChannels - 1));
      for (let i = 0; i < piece.length; i++) {
        samples[i * nChannels + c] = Math.max(-32768, Math.min(32767, Math.round((channel[i] / highest) * 32768)));
      }
    }
    blobs.push(new Blob([samples])); // which the browser may keep on disk
  }
  return blobs;
}

function wavHeader(frames, rate, nChannels) {
  const size = 2 * nChannels * frames, letters = (word) => [...word].map((letter) => [letter.charCodeAt(0), 1]);
  return packed([...letters("RIFF"), [36 + size, 4], ...letters("WAVEfmt "), [16, 4], [1, 2], [nChannels, 2], [rate, 4],
    [rate * 2 * nChannels, 4], [2 * nChannels, 2], [16, 2], ...letters("data"), [size, 4]]);
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

// Files (name, Blobs) as an uncompressed zip file: audio hardly compresses.
async function zip(files) {
  const blobs = [], directory = [];
  let offset = 0;
  for await (const [name, content] of files) {
    let crc = -1, length = 0;
    for (const blob of content) {
      const bytes = new Uint8Array(await blob.arrayBuffer());
      for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
      length += bytes.length;
    }
    const label = new TextEncoder().encode(name);
    const fields = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [0x21, 2], [~crc >>> 0, 4], [length, 4], [length, 4], [label.length, 2], [0, 2]];
    const local = packed([[0x04034b50, 4], ...fields]);
    directory.push(packed([[0x02014b50, 4], [20, 2], ...fields, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), label);
    blobs.push(local, label, ...content);
    offset += local.length + label.length + length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0), n = directory.length / 2;
  const end = [[0x06054b50, 4], [0, 2], [0, 2], [n, 2], [n, 2], [size, 4], [offset, 4], [0, 2]];
  return new Blob([...blobs, ...directory, packed(end)], { type: "application/zip" });
}

// Numbers as little-endian bytes: [value, number of bytes] each.
function packed(fields) {
  return Uint8Array.from(fields.flatMap(([value, n]) => Array.from({ length: n }, (_, k) => (value >>> (8 * k)) & 255)));
}

// A file to download as Blobs: "mix", "midi" or a stem's name.
async function file(engine, kind) {
  if (kind === "midi") return [new Blob([engine.midiFile])];
  const { frames, rate, names, channels } = engine.song;
  if (kind === "mix") return wav(() => engine.remix(), frames, rate, 2);
  return wav(() => engine.stem(kind), frames, rate, channels[names.indexOf(kind)]);
}

async function* allFiles(engine) {
  yield [`${engine.song.title}.wav`, await file(engine, "mix")];
  for (const name of engine.song.names) yield [`${name}.wav`, await file(engine, name)];
  if (engine.midiFile?.byteLength) yield [`${engine.song.title}.mid`, await file(engine, "midi")];
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

// The end of the list that is nearest to a time, as its place in the list.
const nearest = (times, at) => times.reduce((best, time, i) => (Math.abs(time - at) < Math.abs(times[best] - at) ? i : best), 0);

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const spoken = (seconds) => `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
const formatGain = (db) => (db <= MIN_GAIN ? "silent" : `${db > 0 ? "+" : db < 0 ? "−" : ""}${Math.abs(db).toFixed(0)} dB`);
const formatPan = (pan) => (Math.abs(pan) < 0.02 ? "centre" : `${Math.round(Math.abs(pan) * 100)} % ${pan < 0 ? "left" : "right"}`);

function drawWave(canvas, part, engine, colour, loudest, bars) {
  const { width, height } = canvas, draw = canvas.getContext("2d");
  draw.clearRect(0, 0, width, height);
  draw.fillStyle = "rgba(128, 128, 128, 0.5)";
  const dense = (bars.length * 4) / width > 1; // lines that touch would be a grey area
  for (const bar of dense ? [] : bars) draw.fillRect((bar / engine.duration) * width, 0, 1, height);
  draw.fillStyle = colour;
  const per = part.peaks.length / width;
  for (let x = 0; x < width; x++) {
    let top = 0;
    for (let i = Math.floor(x * per); i < Math.max((x + 1) * per, Math.floor(x * per) + 1); i++) top = Math.max(top, part.peaks[i] || 0);
    const size = Math.max(1, (top / loudest) * height); // of the root, which makes soft parts visible, too
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
  const ofText = getComputedStyle(canvas).color;
  for (const [start, end, pitch, velocity, likelihood] of track.notes) {
    const sure = likelihood >= SURE;
    draw.fillStyle = sure ? colour : ofText;
    draw.globalAlpha = sure ? 0.45 + (0.55 * velocity) / 127 : 0.5;
    const x = (start / engine.duration) * width;
    const length = Math.max(1.5, ((Math.max(end, start + (track.drums ? 0.05 : 0)) - start) / engine.duration) * width - 0.5);
    const y = ((high - pitch) / (high - low + 1)) * height;
    draw.fillRect(x, sure ? y : y + thick / 4, length, sure ? thick : thick / 2);
  }
  draw.globalAlpha = 1;
}

function rollOf(label, track) {
  const notes = track?.notes ?? [], unsure = notes.filter((note) => note[4] < SURE).length;
  const text = `Piano roll of ${label}: ${notes.length} notes` + (unsure ? `, ${unsure} of them unsure (thin and grey)` : "");
  return make("canvas", { class: "roll", role: "img", "aria-label": text, title: text });
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
    const song = (this.song = { bars: [], beats: [], chords: [], absent: [], ...model.get("song") }); // a site keeps songs of a version before
    this.bars = song.bars.length > 1 ? song.bars : []; // where they begin
    this.canCountIn = song.bars.length > 2; // enough to know how long one is
    this.engine = new Engine(this.song, model.get("settings"), model.get("midi_file"));
    this.anyNotes = Object.keys(this.song.tracks).length > 0;
    this.frame = null; // the scheduled redraw of the position, while playing
    this.cleanups = [() => this.engine.close(), () => cancelAnimationFrame(this.frame)];
    this.strips = this.song.names.map((name, i) => this.strip(name, i));
    const absent = this.strips.filter(({ name }) => song.absent.includes(name)), there = this.strips.filter((strip) => !absent.includes(strip));
    this.rows = make("div", { class: "rows", style: `--rows: ${there.length}` }, this.ruler(), ...there.map(({ row }) => row), ...this.folded(absent));
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
    this.metronome = button("Metronome", "Metronome on the beats that were found", () => engine.setMetronome(!engine.metronome));
    this.countIn = button("Count-in", "Count a bar in before playing (C)", () => engine.setCountIn(!engine.countsIn));
    const speeds = SPEEDS.map((speed) => make("option", { value: speed }, `${100 * speed} %`));
    this.speed = make("select", { "aria-label": "Speed, at the same pitch", onchange: () => engine.setSpeed(Number(this.speed.value)) }, ...speeds);
    const present = button("Present", "Fill the screen, and leave it again (F)", () => this.present());
    return make("div", { class: "bar" }, this.play, this.time, ...(song.original ? [source] : []),
      make("label", { class: "volume" }, "Volume ", volume), this.master,
      make("label", { class: "speed" }, "Speed ", this.speed), ...(song.beats.length ? [this.metronome] : []), ...(this.canCountIn ? [this.countIn] : []), reset, present, this.downloads());
  }

  downloads() {
    const { engine, song } = this;
    const one = (text, label, what, name, get) => button(text, label, () => this.download(what, name, get));
    const mix = one("Mix", "Download the mix with the current settings (WAV)", "The mix is", `${song.title}.wav`, () => file(engine, "mix"));
    const midi = one("MIDI", "Download the MIDI file", "The MIDI file is", `${song.title}.mid`, () => file(engine, "midi"));
    const all = one("All", "Download the mix, all stems and the MIDI file (zip)", "All files are", `${song.title}.zip`, () => zip(allFiles(engine)));
    this.downloadable = [mix, midi, all];
    return make("span", { class: "group", role: "group", "aria-label": "Downloads" }, "⤓ ", mix,
      ...(engine.midiFile?.byteLength ? [midi] : []), all);
  }

  async download(what, name, get) {
    this.status.textContent = `Preparing ${name} …`;
    await new Promise((resume) => setTimeout(resume, 20)); // so that the page shows it first
    const content = await get();
    save(content instanceof Blob ? content : new Blob(content), name);
    this.status.textContent = `${what} downloaded.`;
  }

  // The rows of instruments that the song hardly has, out of the way.
  folded(strips) {
    if (!strips.length) return [];
    const names = strips.map(({ name }) => pretty(name)).join(", ");
    return [make("details", { class: "absent" }, make("summary", {}, `Probably not in this song: ${names}`), ...strips.map(({ row }) => row))];
  }

  // The row with the position slider.
  ruler() {
    const { engine } = this;
    this.status = make("span", { class: "status", role: "status" });
    this.position = slider("Position in the song", 0, engine.duration, 0.1, 0, (at) => engine.seek(at), (at) => `${spoken(at)} of ${spoken(engine.duration)}`);
    const unloop = button("End loop", "Continue after the loop (Escape)", () => engine.setLoop(null), { class: "unloop" });
    return make("div", { class: "strip ruler" }, make("div", { class: "controls" }, this.status, unloop), make("div"),
      make("div", { class: "lane" }, ...this.chords(), this.position));
  }

  // The names of the chords where they begin; of equal ones, the first.
  chords() {
    const { song, engine } = this, edges = [...song.bars, engine.duration].map((at) => `${(100 * at) / engine.duration}%`);
    const changes = [...song.chords.keys()].filter((i) => song.chords[i] !== song.chords[i - 1]);
    const names = changes.map((i, n) => {
      const width = `calc(${edges[changes[n + 1] ?? song.chords.length]} - ${edges[i]})`;
      return make("span", { style: `left: ${edges[i]}; width: ${width}` }, make("span", {}, song.chords[i]));
    });
    return song.chords.some(Boolean) ? [make("div", { class: "chords", "aria-hidden": "true" }, ...names)] : [];
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
      midi: button("MIDI", `Play the MIDI notes of ${label} in place of its sound`, flip("midi"), { disabled: !engine.hasNotes(name) }),
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
    const roll = this.anyNotes ? rollOf(label, this.engine.part(name).track) : null;
    const lane = make("div", { class: "lane" }, waves, ...(roll ? [roll] : []), make("div", { class: "region" }), make("div", { class: "head" }));
    return { waves, roll, lane };
  }

  // Fill the screen, for a class; or stop that.
  async present() {
    if (document.fullscreenElement === this.root) return document.exitFullscreen();
    await this.root.requestFullscreen();
    this.root.focus();
  }

  // Solo the next instrument of the song; after the last, none.
  soloNext() {
    const { engine, song } = this, names = song.names.filter((name) => !song.absent.includes(name));
    const next = names[names.findLastIndex((name) => engine.settings[name].solo) + 1];
    for (const name of song.names) engine.set(name, { solo: name === next });
  }

  hint() {
    const bars = this.bars.length ? "drag to loop bars (with Alt: anything)" : "drag to loop";
    return make("div", { class: "hint" }, `Click a waveform to jump there, ${bars}. Keys: space plays, ← → move 5 s, [ and ] set the loop, Escape ends it, ` +
      "M and S mute and solo the row in focus, N solos the next, − and + change the speed, " +
      (this.canCountIn ? "C counts in, " : "") + "F fills the screen" + (this.song.original ? ", O switches between remix and original." : "."));
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
    const region = (event) => (event.altKey ? [from, at(event)] : this.wholeBars([from, at(event)]));
    this.listen(lane, "pointerdown", (event) => {
      if (event.button) return;
      [from, startX] = [at(event), event.clientX];
      lane.setPointerCapture(event.pointerId);
    });
    this.listen(lane, "pointermove", (event) => {
      if (from !== null && dragged(event)) this.showLoop(region(event));
    });
    this.listen(lane, "pointercancel", () => ((from = null), this.showState()));
    this.listen(lane, "pointerup", (event) => {
      if (from === null) return;
      const start = from, chosen = region(event);
      from = null;
      if (dragged(event)) return engine.setLoop(chosen);
      if (engine.loop && (start < engine.loop[0] || start >= engine.loop[1])) engine.loop = null;
      engine.seek(start);
    });
  }

  // The bars nearest to a region, one at least; the region itself where no bars are known.
  wholeBars(region) {
    if (!this.bars.length) return region;
    const edges = [...this.bars, this.engine.duration], [from, to] = [Math.min(...region), Math.max(...region)];
    const first = Math.min(nearest(edges, from), edges.length - 2);
    return [edges[first], edges[Math.max(first + 1, nearest(edges, to))]];
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
    if (target.matches("select")) return {};
    const isSlider = target.matches("input"), isButton = target.matches("button");
    const faster = (steps) => SPEEDS[Math.max(0, Math.min(SPEEDS.indexOf(engine.speed) - steps, SPEEDS.length - 1))];
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
      n: () => this.soloNext(),
      c: this.canCountIn ? () => engine.setCountIn(!engine.countsIn) : null,
      "-": () => engine.setSpeed(faster(-1)),
      "+": () => engine.setSpeed(faster(1)),
      f: () => this.present(),
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
    const bar = this.bars.filter((start) => start <= at + 0.01).length;
    this.time.textContent = `${clock(at)} / ${clock(engine.duration)}${bar ? `, bar ${bar}` : ""}${(bar && this.song.chords[bar - 1] && `, ${this.song.chords[bar - 1]}`) || ""}`;
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
    this.metronome.setAttribute("aria-pressed", engine.metronome);
    this.countIn.setAttribute("aria-pressed", engine.countsIn);
    this.speed.value = engine.speed;
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
    if (!root.isConnected) return; // scrolled out of the notebook, or not yet in it: no colours, no size
    const shades = getComputedStyle(root).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    root.style.colorScheme = shades.reduce((sum, shade) => sum + shade) > 384 ? "dark" : "light"; // for the sliders
    const loudest = Math.max(8, ...this.strips.map(({ name }) => engine.part(name).peaks.reduce((a, b) => Math.max(a, b), 0))); // at least 1/1000
    for (const { name, waves, roll, colour } of this.strips) {
      if (fitToScreen(waves)) drawWave(waves, engine.part(name), engine, colour, loudest, this.bars);
      if (roll && fitToScreen(roll)) drawRoll(roll, engine.part(name).track, engine, colour);
    }
    for (const name of root.querySelectorAll(".chords > span")) name.classList.toggle("narrow", name.firstChild.offsetWidth > name.clientWidth);
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
