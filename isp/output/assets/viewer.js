/* The viewer of isp.output.viewer: layers on a canvas, linked in zoom and place, with their values. */
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const layers = data.layers;
  const view = document.getElementById("view");
  const screen = view.parentElement;
  const readout = document.getElementById("readout");
  const split = document.getElementById("split");
  const labels = [document.getElementById("label-a"), document.getElementById("label-b")];
  const choices = [document.getElementById("layer-a"), document.getElementById("layer-b")];
  const cards = [...document.querySelectorAll(".card")];
  const panels = [...document.querySelectorAll(".panel")];
  const NOT_FINITE = 65535, MOST = 64, STEPS = [1 / 32, 1 / 16, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, MOST];
  const INK = { clipped: [255, 0, 200], negative: [0, 225, 255] };

  const state = {
    a: data.first[0], b: data.first[1], mode: data.mode, flick: false,
    y: data.frame[0] / 2, x: data.frame[1] / 2,  // what is at the middle, in the common frame
    scale: 0,                                    // device pixels for a pixel; 0: all of it
    ev: 0, cfa: false, clipped: false, negative: false, split: 0.5,
    cursor: null,                                // y, x in the common frame
  };

  // --- places: the common frame and the layers' own -------------------------------------------------------------

  const toLayer = (layer, y, x) => layer.place.map(([ofY, ofX, constant]) => ofY * y + ofX * x + constant);

  function fromLayer(layer, v, u) {  // the inverse: the 2x2 part is a turn or a mirror, so its transpose undoes it
    const [[a, b, c], [d, e, f]] = layer.place;
    return [a * (v - c) + d * (u - f), b * (v - c) + e * (u - f)];
  }

  // --- values ---------------------------------------------------------------------------------------------------

  async function unpack(win) {
    const text = atob(data.store[win.data]);
    const packed = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const plane = win.height * win.width, count = plane * win.channels, { period, width } = win;
    const planes = new Uint16Array(count);
    for (let i = 0; i < count; i++) {
      const folded = (bytes[i] << 8) | bytes[count + i];
      planes[i] = (folded >> 1) ^ -(folded & 1);
    }
    for (let row = 0; row < count; row += width)
      for (let i = row + period; i < row + width; i++) planes[i] += planes[i - period];
    if (win.channels === 3)
      for (let i = 0; i < plane; i++) {
        planes[i] += planes[plane + i];
        planes[2 * plane + i] += planes[plane + i];
      }
    return planes;  // channel by channel
  }

  const unpacked = new Map();
  function integers(win) {
    if (!unpacked.has(win.data)) {
      const entry = { planes: null };
      unpacked.set(win.data, entry);
      entry.done = unpack(win).then((planes) => { entry.planes = planes; });
    }
    return unpacked.get(win.data);
  }

  function valueAt(layer, v, u) {
    /* The values of a pixel of a layer, or null where the page does not hold them. */
    for (const win of layer.windows) {
      const row = v - win.top, column = u - win.left;
      if (row < 0 || column < 0 || row >= win.height || column >= win.width) continue;
      const { planes } = integers(win);
      if (!planes) return null;
      const found = [];
      for (let c = 0; c < win.channels; c++) {
        const integer = planes[(c * win.height + row) * win.width + column];
        found.push(integer === NOT_FINITE ? NaN : win.offset + win.step * integer);
      }
      return found;
    }
    return null;
  }

  const letterAt = (layer, v, u) =>
    layer.cfa ? layer.cfa.letters[(v % layer.cfa.rows) * layer.cfa.cols + (u % layer.cfa.cols)] : "";

  // --- from values to the screen --------------------------------------------------------------------------------

  const encode = (x) => {
    const [slope, knee, scale, exponent, offset] = data.curve;
    return x < knee ? x * slope : scale * x ** exponent - offset;
  };
  const decode = (y, [slope, knee, scale, exponent, offset]) =>
    y < slope * knee ? y / slope : ((y + offset) / scale) ** (1 / exponent);
  const TABLE = 8192;
  const encoded = new Uint8ClampedArray(TABLE + 1);  // Clamped rounds to nearest
  for (let i = 0; i <= TABLE; i++) encoded[i] = encode(i / TABLE) * 255;
  const toByte = (x) => (x <= 0 ? 0 : x >= 1 ? 255 : x < 0.03 ? encode(x) * 255 : encoded[(x * TABLE + 0.5) | 0]);

  function heat(t, out, i) {  // black, violet, orange, white: brightness rises evenly
    const s = t < 0 ? 0 : t > 1 ? 1 : t;
    out[i] = 255 * Math.min(1, 1.6 * s ** 0.8);
    out[i + 1] = 255 * s ** 1.7;
    out[i + 2] = 255 * (s < 0.4 ? 1.4 * s : s < 0.7 ? 0.56 - 1.5 * (s - 0.4) : 0.11 + 2.9 * (s - 0.7));
  }

  function paintValues(layer, win, planes) {
    /* ImageData of a window under the view's settings. */
    const { width, height, channels } = win, plane = width * height;
    const image = new ImageData(width, height, { colorSpace: data.display });
    const out = image.data, gain = layer.gain * 2 ** state.ev, { cfa, matrix: m } = layer;
    const asIs = (layer.same && state.ev === 0) || layer.colours !== "picture";
    const limit = (wanted, value) => (wanted && value ? value : null);
    const low = limit(state.negative, layer.low), high = limit(state.clipped, layer.high);
    const px = [0, 0, 0];
    for (let i = 0, o = 0; i < plane; i++, o += 4) {
      let ink = null;
      const site = cfa ? "RGB".indexOf(cfa.letters[(((i / width) | 0) + win.top) % cfa.rows * cfa.cols + ((i % width) + win.left) % cfa.cols]) : 0;
      for (let c = 0; c < channels; c++) {
        const integer = planes[c * plane + i];
        const value = win.offset + win.step * integer, limits = channels === 1 ? site : c;
        if (high && value >= high[limits]) ink = INK.clipped;
        else if (low && value < low[limits] && !ink) ink = INK.negative;
        px[c] = (value - layer.black) * (asIs ? layer.gain : gain);
        if (integer === NOT_FINITE) px[c] = 0;
      }
      if (ink) [out[o], out[o + 1], out[o + 2]] = ink;
      else if (layer.colours === "heat") heat(px[0], out, o);
      else if (layer.colours === "signed") for (let c = 0; c < 3; c++) out[o + c] = 127.5 + 127.5 * px[channels === 1 ? 0 : c];
      else if (channels === 1) {
        const byte = toByte(px[0]);
        out[o] = out[o + 1] = out[o + 2] = cfa && state.cfa ? 0 : byte;
        if (cfa && state.cfa) out[o + site] = byte;
      } else if (asIs) for (let c = 0; c < 3; c++) out[o + c] = px[c] * 255;
      else {
        let [r, g, b] = px;
        if (layer.encoded) [r, g, b] = px.map((value, c) => decode(value / 2 ** state.ev, layer.encoded) * 2 ** state.ev);
        if (m) [r, g, b] = m.map((row) => row[0] * r + row[1] * g + row[2] * b);
        out[o] = toByte(r);
        out[o + 1] = toByte(g);
        out[o + 2] = toByte(b);
      }
      out[o + 3] = 255;
    }
    return image;
  }

  const newCanvas = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
  const pen = (canvas) => canvas.getContext("2d", { colorSpace: data.display });

  function paintedWindow(layer, win) {
    /* A canvas with the window, or null while its values are being unpacked. */
    const entry = integers(win);
    if (!entry.planes) {
      entry.done.then(draw, () => { readout.textContent = "This browser cannot unpack the values (it needs DecompressionStream)."; });
      return null;
    }
    const settings = [state.ev, layer.cfa && state.cfa, state.clipped && !!layer.high, state.negative && !!layer.low].join();
    if (win.settings !== settings) {
      win.settings = settings;
      win.canvas ??= newCanvas(win.width, win.height);
      pen(win.canvas).putImageData(paintValues(layer, win, entry.planes), 0, 0);
    }
    return win.canvas;
  }

  function paintedOverview(layer, index) {
    /* The overview under the view's settings: the image itself, or a canvas where it is to be brighter or darker. */
    const images = cards[index].querySelector(".images");
    const image = images.querySelector(layer.cfa && state.cfa ? ".cfa" : ".grey, .all");
    if (!image.complete || !image.naturalWidth) {
      image.addEventListener("load", draw, { once: true });
      return null;
    }
    if (state.ev === 0 || layer.colours !== "picture") return image;
    const settings = `${state.ev},${image.className}`;
    if (layer.settings !== settings) {
      layer.settings = settings;
      layer.canvas ??= newCanvas(image.naturalWidth, image.naturalHeight);
      const context = pen(layer.canvas);
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, image.naturalWidth, image.naturalHeight, { colorSpace: data.display });
      const table = Uint8ClampedArray.from({ length: 256 }, (_, i) => toByte(decode(i / 255, data.curve) * 2 ** state.ev));
      for (let i = 0; i < pixels.data.length; i++) if (i % 4 !== 3) pixels.data[i] = table[pixels.data[i]];
      context.putImageData(pixels, 0, 0);
    }
    return layer.canvas;
  }

  function paintedMask(layer, index, name) {
    const image = cards[index].querySelector(`.images .${name}`);
    if (!image || !image.complete || !image.naturalWidth) return null;
    layer.masks ??= {};
    if (!layer.masks[name]) {
      const canvas = newCanvas(image.naturalWidth, image.naturalHeight), context = pen(canvas);
      context.drawImage(image, 0, 0);
      const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < pixels.data.length; i += 4) {
        pixels.data[i + 3] = pixels.data[i] > 127 ? 255 : 0;
        [pixels.data[i], pixels.data[i + 1], pixels.data[i + 2]] = INK[name];
      }
      context.putImageData(pixels, 0, 0);
      layer.masks[name] = canvas;
    }
    return layer.masks[name];
  }

  // --- drawing --------------------------------------------------------------------------------------------------

  function scaleOf(canvas) {
    if (state.scale) return state.scale;
    return Math.min(canvas.width / data.frame[1], canvas.height / data.frame[0]);
  }

  function drawLayer(context, index, scale, from, to, outline) {
    const layer = layers[index], { width, height } = context.canvas;
    const [v, u] = toLayer(layer, state.y, state.x);
    const top = Math.round(height / 2 - v * scale), left = Math.round(width / 2 - u * scale);
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, height);
    context.clip();
    context.beginPath();
    context.rect(left, top, layer.width * scale, layer.height * scale);
    context.clip();
    context.imageSmoothingEnabled = scale * layer.factor < 1 || (layer.factor > 1 && scale < 1);
    context.imageSmoothingQuality = "medium";
    const place = (image) =>
      context.drawImage(image, left, top, Math.ceil(layer.width / layer.factor) * layer.factor * scale, Math.ceil(layer.height / layer.factor) * layer.factor * scale);
    const overview = paintedOverview(layer, index);
    if (overview) place(overview);
    context.imageSmoothingEnabled = false;
    for (const name of ["negative", "clipped"]) {
      const mask = state[name] && paintedMask(layer, index, name);
      if (mask) place(mask);
    }
    for (const win of layer.windows) {
      const area = [left + win.left * scale, top + win.top * scale, win.width * scale, win.height * scale];
      if (area[0] > to || area[1] > height || area[0] + area[2] < from || area[1] + area[3] < 0) continue;
      const painted = paintedWindow(layer, win);
      context.imageSmoothingEnabled = scale < 1;
      if (painted) context.drawImage(painted, ...area);
      if (outline && (win.width < layer.width || win.height < layer.height)) {
        context.setLineDash([6, 6]);
        context.lineWidth = Math.max(1, devicePixelRatio);
        context.strokeStyle = "#ffffffb0";
        context.strokeRect(area[0] - 1, area[1] - 1, area[2] + 2, area[3] + 2);
      }
    }
    context.restore();
  }

  function fitted(canvas) {
    const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    const height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = pen(canvas);
    context.fillStyle = "#101010";
    context.fillRect(0, 0, width, height);
    return context;
  }

  let asked = false;
  function draw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      const context = fitted(view), { width } = view, scale = scaleOf(view);
      const one = state.flick ? state.b : state.a;
      if (state.mode === "slider") {
        const at = Math.round(width * state.split);
        drawLayer(context, state.a, scale, 0, at, true);
        drawLayer(context, state.b, scale, at, width, true);
        context.fillStyle = "#fff";
        context.fillRect(at - devicePixelRatio, 0, 2 * devicePixelRatio, view.height);
      } else drawLayer(context, one, scale, 0, width, true);
      if (state.cursor) {
        const layer = layers[one], [v, u] = toLayer(layer, ...state.cursor), [cv, cu] = toLayer(layer, state.y, state.x);
        const size = Math.max(scale, 6);
        context.strokeStyle = "#ffe000";
        context.lineWidth = Math.max(1, devicePixelRatio);
        context.strokeRect(
          Math.round(width / 2 - cu * scale) + Math.floor(u) * scale - (size - scale) / 2,
          Math.round(view.height / 2 - cv * scale) + Math.floor(v) * scale - (size - scale) / 2, size, size);
      }
      const shown = strip.getBoundingClientRect();
      for (const [index, card] of cards.entries()) {
        const place = card.getBoundingClientRect();
        if (place.right < shown.left || place.left > shown.right || place.bottom < 0 || place.top > innerHeight) continue;
        const thumb = card.querySelector("canvas"), small = fitted(thumb);
        const fit = Math.min(thumb.width / data.frame[1], thumb.height / data.frame[0]);
        drawLayer(small, index, state.scale ? Math.max(state.scale * thumb.width / view.width, fit) : fit, 0, thumb.width, false);
      }
      describe();
    });
  }

  // --- words ----------------------------------------------------------------------------------------------------

  const figure = (value, step) =>
    !Number.isFinite(value) ? "not finite" : step >= 1 ? String(value) : value.toFixed(Math.min(7, Math.max(2, Math.ceil(-Math.log10(step)))));

  function said(layer, v, u) {
    const found = valueAt(layer, v, u);
    if (!found) return null;
    const { step } = layer.windows[0];
    const letters = found.length === 3 ? "RGB" : letterAt(layer, v, u);
    const text = found.map((value, c) => `${letters[c] ? letters[c] + " " : ""}${figure(value, step)}`).join("  ");
    if (!layer.encoded) return `${text} ${layer.unit}`;
    const linear = found.map((value) => figure(value < 0 ? -decode(-value, layer.encoded) : decode(value, layer.encoded), step)).join("  ");
    return `${text} encoded = ${linear} linear`;
  }

  const pixelOf = (layer, y, x) => toLayer(layer, y, x).map(Math.floor);
  const inside = (layer, [v, u]) => v >= 0 && u >= 0 && v < layer.height && u < layer.width;

  function describe() {
    const scale = scaleOf(view), percent = scale >= 1 ? `${+scale.toFixed(2)}:1` : `1:${+(1 / scale).toFixed(2)}`;
    const parts = [percent];
    if (state.cursor) {
      const [y, x] = state.cursor;
      parts.push(`x ${Math.floor(x)}, y ${Math.floor(y)}`);
      const listed = [...new Set([...data.reading, state.flick ? state.b : state.a, ...(state.mode === "single" ? [] : [state.a, state.b])])];
      for (const index of listed) {
        const layer = layers[index], place = pixelOf(layer, y, x);
        const text = inside(layer, place) ? said(layer, ...place) : "outside of the frame";
        const where = data.reading.includes(index) ? ` row ${place[0]}, column ${place[1]}` : "";
        parts.push(`${layer.name}${where}: ${text ?? "not in this page at full resolution (dashed frame)"}`);
      }
      for (const [index, card] of cards.entries()) {
        const place = pixelOf(layers[index], y, x), found = inside(layers[index], place) && valueAt(layers[index], ...place);
        card.querySelector(".value").textContent = found ? found.map((value) => figure(value, Math.max(layers[index].windows[0].step, 1e-4))).join(" ") : "";
      }
    }
    readout.textContent = parts.join("  ·  ");
    const two = state.mode === "slider";
    labels[0].textContent = layers[state.flick ? state.b : state.a].name;
    labels[1].textContent = two ? layers[state.b].name : "";
    labels[1].hidden = !two;
    split.hidden = !two;
    document.getElementById("ev").textContent = `${state.ev > 0 ? "+" : ""}${state.ev} EV`;
    for (const [index, card] of cards.entries()) {
      card.setAttribute("aria-pressed", String(index === state.a));
      card.classList.toggle("second", index === state.b && state.mode !== "single");
    }
    panels.forEach((panel, index) => { panel.hidden = index !== state.a; });
    choices.forEach((choice, i) => { choice.value = String(i ? state.b : state.a); });
    for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
    for (const button of document.querySelectorAll("[data-switch]")) button.setAttribute("aria-pressed", String(state[button.dataset.switch]));
  }

  // --- what the user does ---------------------------------------------------------------------------------------

  function select(index, second = false) {
    index = Math.min(layers.length - 1, Math.max(0, index));
    if (second) state.b = index;
    else {
      if (data.mode === "single" && state.mode === "single") state.b = Math.max(0, index - 1);  // B: the stage before
      state.a = index;
      cards[index].scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    draw();
  }

  function setMode(mode) {
    state.mode = mode;
    state.flick = false;
    clearInterval(setMode.timer);
    if (mode === "flicker") setMode.timer = setInterval(() => { state.flick = !state.flick; draw(); }, 600);
    draw();
  }

  function clampView() {
    state.y = Math.min(data.frame[0], Math.max(0, state.y));
    state.x = Math.min(data.frame[1], Math.max(0, state.x));
  }

  function placeAt(clientX, clientY) {
    /* The place in the common frame under a point of the window. */
    const box = view.getBoundingClientRect(), scale = scaleOf(view);
    const at = (clientX - box.left) * devicePixelRatio;
    const index = state.mode === "slider" && at > state.split * view.width ? state.b : state.flick ? state.b : state.a;
    const layer = layers[index], [v, u] = toLayer(layer, state.y, state.x);
    const left = Math.round(view.width / 2 - u * scale), top = Math.round(view.height / 2 - v * scale);
    return fromLayer(layer, ((clientY - box.top) * devicePixelRatio - top) / scale, (at - left) / scale);
  }

  function zoom(scale, clientX, clientY) {
    const box = view.getBoundingClientRect();
    clientX ??= box.left + box.width / 2;
    clientY ??= box.top + box.height / 2;
    const before = placeAt(clientX, clientY);
    const fit = Math.min(view.width / data.frame[1], view.height / data.frame[0]);
    state.scale = scale === 0 || (fit < 1 && scale <= fit) ? 0 : Math.min(MOST, Math.max(Math.min(fit, 1), scale));
    if (!state.scale) [state.y, state.x] = [data.frame[0] / 2, data.frame[1] / 2];
    else {
      const after = placeAt(clientX, clientY);
      state.y += before[0] - after[0];
      state.x += before[1] - after[1];
      clampView();
    }
    draw();
  }

  const larger = () => STEPS.find((step) => step > scaleOf(view) * 1.01) ?? MOST;
  const smaller = () => STEPS.findLast((step) => step < scaleOf(view) / 1.01) ?? 0;

  function pan(right, down) {  // device pixels
    const scale = scaleOf(view), layer = layers[state.a], [v, u] = toLayer(layer, state.y, state.x);
    state.scale = scale;
    [state.y, state.x] = fromLayer(layer, v + down / scale, u + right / scale);
    clampView();
    draw();
  }

  function goto(y, x, height, width) {
    state.y = y + height / 2;
    state.x = x + width / 2;
    state.cursor = [Math.floor(state.y) + 0.5, Math.floor(state.x) + 0.5];
    const fit = Math.min(view.width / width, view.height / height) * 0.7;
    state.scale = Math.max(1, STEPS.findLast((step) => step <= fit) ?? 1);
    draw();
  }

  const brighten = (stops) => { state.ev = Math.min(8, Math.max(-8, state.ev + stops)); draw(); };
  const toggle = (name) => { state[name] = !state[name]; draw(); };
  const actions = {
    fit: () => zoom(0), in: () => zoom(larger()), out: () => zoom(smaller()), one: () => zoom(1),
    darker: () => brighten(-0.5), brighter: () => brighten(0.5),
  };
  const keys = {
    ArrowLeft: () => select(state.a - 1), ArrowRight: () => select(state.a + 1),
    "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.fit, 1: actions.one,
    "[": actions.darker, "]": actions.brighter,
    c: () => toggle("cfa"), x: () => toggle("clipped"), n: () => toggle("negative"),
    f: () => setMode(state.mode === "flicker" ? "single" : "flicker"),
    v: () => setMode(state.mode === "slider" ? "single" : "slider"), m: () => setMode("single"),
    w: () => walk(0, -1), s: () => walk(0, 1), a: () => walk(-1, 0), d: () => walk(1, 0),
  };

  function walk(right, down) {
    pan(right * Math.max(scaleOf(view), view.width / 12), down * Math.max(scaleOf(view), view.width / 12));
    state.cursor = [Math.floor(state.y) + 0.5, Math.floor(state.x) + 0.5];
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input, textarea")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "b" && !event.repeat) { state.flick = true; draw(); }
    if (!(key in keys)) return;
    event.preventDefault();
    keys[key]();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b" && state.mode !== "flicker") { state.flick = false; draw(); }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do) actions[button.dataset.do]();
    if (button.dataset.mode) setMode(button.dataset.mode);
    if (button.dataset.switch) toggle(button.dataset.switch);
    if (button.dataset.layer) select(Number(button.dataset.layer), event.shiftKey);
    if (button.dataset.goto) goto(...button.dataset.goto.split(",").map(Number));
  });
  choices.forEach((choice, i) => choice.addEventListener("change", () => {
    select(Number(choice.value), Boolean(i));
    if (i && state.mode === "single") setMode("slider");
  }));
  split.addEventListener("input", () => { state.split = split.value / 1000; draw(); });

  const pointers = new Map();
  let moved = 0, sliding = false;
  view.addEventListener("pointerdown", (event) => {
    view.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = 0;
    const box = view.getBoundingClientRect();
    sliding = state.mode === "slider" && Math.abs(event.clientX - box.left - state.split * box.width) < 16;
  });
  view.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) {
      if (event.pointerType === "mouse") point(event);
      return;
    }
    const before = [...pointers.values()].map((p) => [...p]);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    moved += Math.hypot(event.clientX - last[0], event.clientY - last[1]);
    if (pointers.size === 2) {
      const after = [...pointers.values()], span = ([p, q]) => Math.hypot(p[0] - q[0], p[1] - q[1]);
      const middle = ([p, q]) => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2], [from, to] = [middle(before), middle(after)];
      pan((from[0] - to[0]) * devicePixelRatio, (from[1] - to[1]) * devicePixelRatio);
      zoom(scaleOf(view) * span(after) / Math.max(1, span(before)), ...to);
    } else if (sliding) {
      const box = view.getBoundingClientRect();
      state.split = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      split.value = String(Math.round(state.split * 1000));
      draw();
    } else pan((last[0] - event.clientX) * devicePixelRatio, (last[1] - event.clientY) * devicePixelRatio);
  });
  for (const name of ["pointerup", "pointercancel"])
    view.addEventListener(name, (event) => {
      pointers.delete(event.pointerId);
      if (name === "pointerup" && moved < 4) point(event);
    });
  function point(event) {
    state.cursor = placeAt(event.clientX, event.clientY);
    draw();
  }
  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(scaleOf(view) * 2 ** (-Math.sign(event.deltaY) * Math.min(0.5, Math.abs(event.deltaY) / 200)), event.clientX, event.clientY);
  }, { passive: false });

  const strip = document.querySelector(".strip");
  for (const card of cards) card.querySelector(".images").after(document.createElement("canvas"));
  document.querySelector(".viewer").classList.add("live");
  strip.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(screen);
  addEventListener("scroll", draw, { passive: true });

  // For tests and for the console: isp.read(layer, row, column) gives the values there.
  window.isp = {
    state,
    draw,
    ready: () => Promise.all(layers.flatMap((layer) => layer.windows.map((win) => integers(win).done))),
    read: (index, row, column) => valueAt(layers[index], row, column),
    place: (index, y, x) => toLayer(layers[index], y, x),
  };
  setMode(state.mode);
  select(state.a);
})();
