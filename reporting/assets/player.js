// The player: pictures with the reprojected hands, the meshes between the cameras, and one time line for both.
// Reads window.reportData.player (reporting/player.py); window.player is what charts and tests use.
"use strict";

window.startPlayer = function (data, onFrame) {
  const NONE = -32768, PICTURE_UNITS = 8, CACHE_PIXELS = 60e6;
  const frames = data.frames, last = frames.length - 1, hands = data.hands.length, joints = data.bones.length + 1;
  const element = (id) => document.getElementById(id);
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const int16 = (text) => new Int16Array(bytes(text).buffer);
  const jointAt = int16(data.joints), residual = int16(data.residual);
  const state = { at: 0, playing: false, speed: 1, residual: false, detections: true, scriptMs: [] };

  // Cividis (Nuñez, Anderton, Renslow 2018), five points of it: readable with every kind of colour vision.
  const CIVIDIS = [[0, 32, 81], [60, 77, 110], [127, 124, 117], [187, 175, 113], [253, 234, 69]];
  function cividis(share) {
    const x = Math.min(Math.max(share, 0), 1) * 4, i = Math.min(Math.floor(x), 3), f = x - i;
    return CIVIDIS[i].map((low, k) => low + f * (CIVIDIS[i + 1][k] - low));
  }
  const measured = residual.some((value) => value !== NONE);
  const residualMm = (at, hand, joint) => {
    const value = residual[(at * hands + hand) * joints + joint];
    return value === NONE ? null : value / 100;
  };
  const css = (rgb) => `rgb(${rgb.map(Math.round).join(" ")})`;

  // ---- pictures -------------------------------------------------------------------------------------------------
  const views = data.views.map((view) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    const label = document.createElement("span");
    [canvas.width, canvas.height] = view.size;
    button.type = "button";
    button.title = `Look from ${view.name}`;
    label.textContent = view.name;
    button.append(canvas, label);
    button.addEventListener("click", () => lookFrom(view.name));
    element("pictures").append(button);
    return { ...view, canvas, context: canvas.getContext("2d"), fitted: int16(view.fitted), seen: int16(view.seen), bitmaps: new Map() };
  });
  const kept = Math.max(12, Math.floor(CACHE_PIXELS / views.reduce((sum, view) => sum + view.size[0] * view.size[1], 1)));

  function bitmap(view, at) {
    let found = view.bitmaps.get(at);
    if (!found && view.images[at]) {
      found = { image: null };
      found.ready = createImageBitmap(new Blob([bytes(view.images[at])], { type: "image/jpeg" })).then((image) => { found.image = image; });
      view.bitmaps.set(at, found);
      if (view.bitmaps.size > kept) {
        const oldest = view.bitmaps.keys().next().value, gone = view.bitmaps.get(oldest);
        view.bitmaps.delete(oldest);
        gone.ready.then(() => gone.image.close());
      }
    }
    return found;
  }

  function drawPicture(view) {
    const { context, canvas } = view, at = state.at, found = bitmap(view, at);
    if (found && !found.image) {
      found.ready.then(() => { if (state.at === at) drawPicture(view); });
      return;
    }
    if (found) context.drawImage(found.image, 0, 0);
    else {
      context.fillStyle = "#222";
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
    const place = (array, hand, joint) => {
      const i = ((at * hands + hand) * joints + joint) * 2;
      return array[i] === NONE || array[i + 1] === NONE ? null : [array[i] / PICTURE_UNITS, array[i + 1] / PICTURE_UNITS];
    };
    const size = Math.max(1, canvas.width / 260);
    context.lineCap = "round";
    const stroke = (lines, color, width) => {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      for (const [from, to] of lines) {
        context.moveTo(...from);
        context.lineTo(...to);
      }
      context.stroke();
    };
    for (let hand = 0; hand < hands; hand++) {
      const places = Array.from({ length: joints }, (_, joint) => place(view.fitted, hand, joint));
      const there = data.bones.filter(([a, b]) => places[a] && places[b]);
      const lines = there.map(([a, b]) => [places[a], places[b]]);
      stroke(lines, "rgb(0 0 0 / .75)", 4 * size);
      if (!state.residual) stroke(lines, colors[hand], 2 * size);
      else there.forEach(([, b], i) => {
        const mm = residualMm(at, hand, b);
        stroke([lines[i]], mm === null ? "#888" : css(cividis(mm / data.top_mm)), 2 * size);
      });
      if (!state.detections) continue;
      context.strokeStyle = "#fff";
      context.lineWidth = size;
      context.beginPath();
      for (let joint = 0; joint < joints; joint++) {
        const ring = place(view.seen, hand, joint);
        if (!ring) continue;
        context.moveTo(ring[0] + 1.7 * size, ring[1]);
        context.arc(...ring, 1.7 * size, 0, 7);
      }
      context.stroke();
    }
  }

  // ---- space ----------------------------------------------------------------------------------------------------
  // Colours in pictures are the same by day and by night: the pictures are.
  const colors = Array.from({ length: hands }, (_, hand) => ["#f0a030", "#56b4e9"][hand % 2]);
  const T = window.THREE, scene = new T.Scene(), canvas = element("space");
  let renderer = null;
  try {
    renderer = new T.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true, alpha: true });
  } catch (error) {
    element("hover").textContent = "This browser has no WebGL: the 3D view is left out.";
  }
  const camera = new T.PerspectiveCamera(35, 1, 0.01, 100);
  const center = new T.Vector3(...data.origin), up = new T.Vector3(...data.up);
  camera.up.copy(up);
  const orbit = new T.OrbitControls(camera, canvas);
  orbit.addEventListener("change", () => requestDraw());
  scene.add(new T.HemisphereLight(0xffffff, 0x9098a4, 2.2));
  const sun = new T.DirectionalLight(0xffffff, 1.8);
  camera.add(sun);
  sun.position.set(0.4, 0.8, 0.6);
  scene.add(camera);

  const models = data.mesh ? data.models : [];
  const vertices = data.mesh ? int16(data.mesh) : null;
  const VERTICES = data.mesh ? vertices.length / (frames.length * hands * 3) : 0;
  const meshes = models.map((model, hand) => {
    const geometry = new T.BufferGeometry();
    geometry.setAttribute("position", new T.BufferAttribute(new Float32Array(VERTICES * 3), 3));
    geometry.setAttribute("color", new T.BufferAttribute(new Float32Array(VERTICES * 3), 3));
    geometry.setIndex(new T.BufferAttribute(new Uint16Array(bytes(model.faces).buffer), 1));
    const mesh = new T.Mesh(geometry, new T.MeshLambertMaterial({ vertexColors: true, side: T.DoubleSide }));
    mesh.frustumCulled = false;
    scene.add(mesh);
    return { mesh, geometry, nearest: bytes(model.nearest), plain: new T.Color(colors[hand]) };
  });
  const bones = Array.from({ length: models.length ? 0 : hands }, (_, hand) => {
    const geometry = new T.BufferGeometry();
    geometry.setAttribute("position", new T.BufferAttribute(new Float32Array(data.bones.length * 6), 3));
    const lines = new T.LineSegments(geometry, new T.LineBasicMaterial({ color: colors[hand] }));
    lines.frustumCulled = false;
    scene.add(lines);
    return { geometry, lines };
  });

  const errors = data.cameras.map((each) => each.error).filter((value) => value !== null).sort((a, b) => a - b);
  const worst = errors.length ? errors[Math.floor(0.95 * (errors.length - 1))] : 1, best = errors.length ? errors[0] : 0;
  const rig = data.cameras.map((each) => {
    const points = [], tip = each.center, corners = each.corners;
    corners.forEach((corner, i) => points.push(...tip, ...corner, ...corner, ...corners[(i + 1) % 4]));
    const geometry = new T.BufferGeometry();
    geometry.setAttribute("position", new T.BufferAttribute(new Float32Array(points), 3));
    const lines = new T.LineSegments(geometry, new T.LineBasicMaterial({}));
    scene.add(lines);
    // A closed pyramid that is not drawn, for the pointer.
    const solid = new T.BufferGeometry();
    solid.setAttribute("position", new T.BufferAttribute(new Float32Array([tip, ...corners].flat()), 3));
    solid.setIndex([0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 1, 1, 2, 3, 1, 3, 4]);
    const body = new T.Mesh(solid, new T.MeshBasicMaterial({ transparent: true, opacity: each.chosen ? 0.5 : 0.16, side: T.DoubleSide, depthWrite: false }));
    body.userData = each;
    scene.add(body);
    let label = null;
    if (each.chosen) {
      label = document.createElement("span");
      label.textContent = each.name;
      element("labels").append(label);
    }
    return { ...each, lines, body, label };
  });

  const marks = (data.labels || []).map((each) => {
    const label = document.createElement("span");
    label.textContent = each.name;
    element("labels").append(label);
    return { ...each, label };
  });

  function paintRig() {
    for (const each of rig) {
      const share = each.error === null ? 0 : (each.error - best) / Math.max(worst - best, 1e-9);
      const rgb = each.error === null ? [128, 128, 128] : cividis(dark.matches ? 0.25 + 0.75 * share : 0.85 * share);
      for (const material of [each.lines.material, each.body.material]) material.color.setRGB(...rgb.map((v) => v / 255), "srgb");
    }
  }

  function moveHands() {
    const { origin, step } = data, at = state.at;
    meshes.forEach(({ mesh, geometry, nearest, plain }, hand) => {
      const from = (at * hands + hand) * VERTICES * 3;
      mesh.visible = vertices[from] !== NONE;
      if (!mesh.visible) return;
      const position = geometry.attributes.position.array, color = geometry.attributes.color.array;
      for (let i = 0; i < VERTICES * 3; i++) position[i] = origin[i % 3] + step * vertices[from + i];
      const tones = [];
      for (let joint = 0; joint < joints; joint++) {
        const mm = residualMm(at, hand, joint), tone = new T.Color();
        tones.push(!state.residual ? plain : mm === null ? tone.set(0x888888) : tone.setRGB(...cividis(mm / data.top_mm).map((v) => v / 255), "srgb"));
      }
      for (let v = 0; v < VERTICES; v++) tones[nearest[v]].toArray(color, 3 * v);
      geometry.attributes.position.needsUpdate = geometry.attributes.color.needsUpdate = true;
      geometry.computeVertexNormals();
    });
    bones.forEach(({ geometry, lines }, hand) => {
      const array = geometry.attributes.position.array;
      lines.visible = jointAt[(at * hands + hand) * joints * 3] !== NONE;
      data.bones.forEach((bone, i) => bone.forEach((joint, end) => {
        const from = ((at * hands + hand) * joints + joint) * 3, missing = jointAt[from] === NONE;
        // A bone without an end is drawn as a point at the centre, which is nothing.
        for (let k = 0; k < 3; k++) array[i * 6 + end * 3 + k] = origin[k] + (missing ? 0 : step * jointAt[from + k]);
      }));
      geometry.attributes.position.needsUpdate = true;
    });
  }

  function placeLabels() {
    const width = canvas.clientWidth, height = canvas.clientHeight, at = new T.Vector3();
    for (const { label, center: place } of [...rig, ...marks]) {
      if (!label) continue;
      at.set(...place).project(camera);
      label.hidden = at.z > 1 || Math.abs(at.x) > 1 || Math.abs(at.y) > 1;
      label.style.left = `${((at.x + 1) * width) / 2}px`;
      label.style.top = `${((1 - at.y) * height) / 2}px`;
    }
  }

  let inView = false, drawn = 0;
  function requestDraw() {
    if (!inView && renderer) {
      inView = true;
      requestAnimationFrame(() => {
        inView = false;
        renderer.render(scene, camera);
        placeLabels();
        drawn++;
      });
    }
  }

  function look(from, target) {
    camera.position.copy(from);
    orbit.target.copy(target);
    orbit.update();
    requestDraw();
  }
  function lookAround(distance) {
    // From where the cameras are, as they see the hands, and a little from above.
    const middle = new T.Vector3();
    rig.forEach((each) => middle.add(new T.Vector3(...each.center)));
    const away = rig.length ? middle.divideScalar(rig.length).sub(center) : new T.Vector3(...(marks.length ? [0, -1, 0] : [1, 1, 1]));
    away.addScaledVector(up, -away.dot(up));
    if (away.length() < 1e-3) away.crossVectors(up, new T.Vector3(0.3, 0.5, 0.8));
    camera.fov = 35;
    camera.updateProjectionMatrix();
    look(away.normalize().addScaledVector(up, marks.length ? 0.1 : 0.55).normalize().multiplyScalar(distance).add(center), center);
  }
  function lookFrom(name) {
    const each = rig.find((other) => other.name === name);
    if (!each) return;
    const place = new T.Vector3(...each.center), forward = new T.Vector3(...each.forward);
    camera.fov = each.fov;
    camera.updateProjectionMatrix();
    look(place, place.clone().addScaledVector(forward, Math.max(0.05, center.clone().sub(place).dot(forward))));
  }
  const reach = rig.reduce((most, each) => Math.max(most, new T.Vector3(...each.center).distanceTo(center)), data.reach);

  function resize() {
    if (!renderer) return;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
    camera.aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
    camera.updateProjectionMatrix();
    requestDraw();
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) return;
    const box = canvas.getBoundingClientRect(), ray = new T.Raycaster();
    ray.setFromCamera(new T.Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2), camera);
    const hit = ray.intersectObjects(rig.map((each) => each.body))[0];
    if (renderer) element("hover").textContent = hit ? `${hit.object.userData.name}: ${hit.object.userData.error ?? "unknown"} px` : legend;
  });
  const legend = errors.length ? `cameras: median error, ${best} px (dark) to ${worst} px (yellow)` : "";
  if (renderer) element("hover").textContent = legend;

  // ---- time -----------------------------------------------------------------------------------------------------
  function drawStrip() {
    const strip = element("strip"), width = (strip.width = strip.clientWidth * 2), context = strip.getContext("2d");
    const height = (strip.height = 44), step = width / frames.length;
    for (let hand = 0; hand < hands; hand++) {
      for (let at = 0; at < frames.length; at++) {
        let sum = 0, count = 0;
        for (let joint = 0; joint < joints; joint++) {
          const mm = residualMm(at, hand, joint);
          if (mm !== null) { sum += mm; count++; }
        }
        const there = jointAt[(at * hands + hand) * joints * 3] !== NONE;
        context.fillStyle = count ? css(cividis(sum / count / data.top_mm)) : there ? colors[hand] : style("--card");
        context.fillRect(at * step, hand * (height / hands) + 1, step + 0.5, Math.max(height / hands - 2, 1));
      }
    }
    strip.title = "Residual of the left (above) and the right hand (below) in each frame: yellow is large, empty is no hand";
  }

  function show(at) {
    const begin = performance.now();
    state.at = Math.min(Math.max(Math.round(at), 0), last);
    views.forEach(drawPicture);
    if (renderer) {
      moveHands();
      renderer.render(scene, camera);
      placeLabels();
    }
    element("time").value = state.at;
    element("clock").textContent = `frame ${frames[state.at]}${data.fps ? `, ${(frames[state.at] / data.fps).toFixed(2)} s` : ""}`;
    state.scriptMs.push(performance.now() - begin);
    if (state.scriptMs.length > 500) state.scriptMs.shift();
    if (!state.playing) onFrame(frames[state.at]);
    // What comes next is decoded while this is looked at.
    for (const view of views) for (const ahead of [1, 2, 3]) if (state.at + ahead <= last) bitmap(view, state.at + ahead);
  }

  let began = 0, from = 0;
  function tick(now) {
    if (!state.playing) return;
    const step = last ? frames[1] - frames[0] : 1;
    const at = from + ((now - began) / 1000) * state.speed * ((data.fps || 30) / step);
    if (at >= last + 1) [began, from] = [now, 0];
    const whole = Math.floor(at) % (last + 1);
    if (whole !== state.at) show(whole);
    requestAnimationFrame(tick);
  }
  function play(on) {
    state.playing = on;
    element("play").textContent = on ? "❚❚" : "▶";
    if (on) {
      [began, from] = [performance.now(), state.at >= last ? 0 : state.at];
      requestAnimationFrame(tick);
    } else onFrame(frames[state.at]);
  }
  function seek(frame) {
    play(false);
    show(frames.reduce((best, value, i) => (Math.abs(value - frame) < Math.abs(frames[best] - frame) ? i : best), 0));
  }

  element("play").addEventListener("click", () => play(!state.playing));
  element("time").addEventListener("input", (event) => { play(false); show(+event.target.value); });
  element("speed").addEventListener("change", (event) => { state.speed = +event.target.value; play(state.playing); });
  element("detections").addEventListener("change", (event) => { state.detections = event.target.checked; show(state.at); });
  element("residual").addEventListener("change", (event) => colorBy(event.target.checked));
  element("near").addEventListener("click", () => lookAround((marks.length ? 2.6 : 5.2) * data.reach));
  element("far").hidden = !rig.length;
  element("detections").parentElement.hidden = !views.length;
  element("far").addEventListener("click", () => lookAround(3.1 * reach));
  element("residual").parentElement.hidden = !measured;
  function colorBy(asked) {
    const on = asked && measured;
    state.residual = element("residual").checked = on;
    element("scale").hidden = !on;
    show(state.at);
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, summary, a, .go")) return;
    const jump = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: state.at - jump, ArrowRight: state.at + jump, Home: 0, End: last };
    if (event.key === " ") { if (!event.target.matches("button:not(#play), input[type=checkbox]")) { event.preventDefault(); play(!state.playing); } }
    else if (event.key in moves) { event.preventDefault(); play(false); show(moves[event.key]); }
    else if (event.key.toLowerCase() === "r") colorBy(!state.residual);
  });
  document.getElementById("play").addEventListener("keyup", (event) => { if (event.key === " ") event.preventDefault(); });

  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => { paintRig(); drawStrip(); requestDraw(); });
  addEventListener("resize", () => { resize(); drawStrip(); });
  paintRig();
  resize();
  lookAround((marks.length ? 2.6 : 1.7) * reach);
  drawStrip();
  show(0);
  return { state, show, seek, play, colorBy, lookFrom, meshes, views, frames, get drawn() { return drawn; }, ready: () => Promise.all(views.map((view) => bitmap(view, state.at)?.ready)) };
};
