import { record } from "./data.js";
import { photoSection } from "./photo.js";

const { models, examples } = record();
const photo = document.getElementById("photo");
if (models.length) photoSection(photo, { models, examples });
else photo.remove();
