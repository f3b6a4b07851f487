// A button that uploads a file to Python (muscomp_lib/notebook/upload.py): one chunk after another, each sent when Python
// has asked for it.

const CHUNK = 2 ** 21; // bytes; Jupyter's servers silently close the connection above about 10 MB

function render({ model, el }) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept: model.get("accept") });
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: model.get("label") });
  button.className = "jupyter-button widget-button";
  button.style.width = "auto";
  input.style.display = "none"; // not `hidden`, which other styles of the page may override
  let file = null; // the one this button is sending: the same model may be shown twice

  const send = async (at) => {
    const chunk = await file.slice(at, at + CHUNK).arrayBuffer();
    model.send({ name: file.name, at, size: file.size }, undefined, [chunk]);
  };
  const onMessage = ({ next }) => {
    if (!file) return;
    if (next === null) file = null;
    else send(next);
  };
  const updateDisabled = () => (button.disabled = model.get("disabled"));

  button.onclick = () => input.click();
  input.onchange = () => {
    file = input.files[0];
    input.value = ""; // so that the same file can be chosen again
    send(0);
  };
  model.on("msg:custom", onMessage);
  model.on("change:disabled", updateDisabled);
  updateDisabled();
  el.append(button, input);
  return () => {
    model.off("msg:custom", onMessage);
    model.off("change:disabled", updateDisabled);
  };
}

export default { render };
