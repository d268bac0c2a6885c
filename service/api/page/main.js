// The page: starts every part. Each part keeps to its own place in the document.

import { drawGhost } from "./ghost.js";
import { startKeyPanel } from "./key_panel.js";
import { loadLabelSets, startLabelSets } from "./label_sets.js";
import { startLabels } from "./labels.js";
import { startLive } from "./live.js";
import { startModel } from "./model.js";
import { showDefaultTemplate, startOptions } from "./options.js";
import { startRecorder } from "./recorder.js";
import { startRecordings } from "./recordings.js";
import { startSnippets } from "./snippets.js";
import { startSources } from "./sources.js";

drawGhost();
startKeyPanel();
startLabels();
startLabelSets();
startOptions();
startRecordings();
startSources();
startRecorder();
startLive();
startSnippets();
startModel((model) => {
  showDefaultTemplate(model.template);
  loadLabelSets();
});
