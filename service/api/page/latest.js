// Runs a job at most once at a time. While it runs, any number of calls ask for one more run.

export function latest(job) {
  let running = false;
  let again = false;
  return async function run() {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await job();
      }
    } finally {
      running = false;
    }
  };
}
