// A button that sends a file to Python, as muscomp_lib/notebook/upload.py expects it: one piece after the other, the next when
// Python has asked for it.

const PIECE = 2 ** 21; // bytes; Jupyter's servers break off above some 10 MB, without a word

function render({ model, el }) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept: model.get("accept") });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: model.get("label") });
  button.className = "jupyter-button widget-button";
  button.style.width = "auto";
  input.style.display = "none"; // not `hidden`, which other styles of the page may undo
  let file = null; // while one is on its way from this button: the same model may be shown twice

  const send = async (at) => {
    const piece = await file.slice(at, at + PIECE).arrayBuffer();
    model.send({ name: file.name, at, size: file.size }, undefined, [piece]);
  };
  const asked = ({ next }) => {
    if (!file) return;
    if (next === null) file = null;
    else send(next);
  };
  const able = () => (button.disabled = model.get("disabled"));

  button.onclick = () => input.click();
  input.onchange = () => {
    file = input.files[0];
    input.value = ""; // so that the same file can be chosen again
    send(0);
  };
  model.on("msg:custom", asked);
  model.on("change:disabled", able);
  able();
  el.append(button, input);
  return () => {
    model.off("msg:custom", asked);
    model.off("change:disabled", able);
  };
}

export default { render };
