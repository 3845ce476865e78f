import { costs, curves, effects, params, pictures, scores, suspects } from "./comparison.js";
import { listed } from "./dom.js";
import { photoSection } from "./photo.js";

const record = JSON.parse(document.getElementById("data").textContent);
const photo = document.getElementById("photo");
if (record.models.length) {
  listed("photo", "Your photo");
  photoSection(photo, record);
} else photo.remove();
if (record.revisions) params(record);
scores(record);
if (record.curves.length) curves(record);
if (record.effects) effects(record);
if (record.costs) costs(record);
if (record.pictures?.length) pictures(record);
if (record.suspects) suspects(record);
