// Prints the events of a stream, comes back as often as it ends, and leaves at the event "end".
import { EventSource } from 'eventsource';

const source = new EventSource(process.argv[2]);
source.onmessage = (event) => {
  console.log(`data: ${event.data}`);
  if (event.data === 'end') source.close();
};
source.addEventListener('fantail.close', (event) => console.log(`data: ${event.data}`));
