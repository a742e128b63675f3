package sml;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Joins the partitions of its key groups, by a task: a process that runs the very join of `sml join`.
 *
 * <p>What is kept of a partition is what `sml join` keeps: how far it has come, and the records that may still matter. Records go to the
 * task in batches, and what it answers goes on before any barrier, so a checkpoint holds all that came before it and nothing after.
 */
final class JoinOperator extends AbstractStreamOperator<byte[]> implements OneInputStreamOperator<byte[], byte[]> {
  private static final int BATCH = 4_000; // records
  private static final long BATCH_BYTES = 16_000_000;
  private static final long INTERVAL = 50; // ms that a record waits at most for its batch

  private final List<String> command;
  private final int[] keys; // of the partitions

  private transient Task task;
  private transient ValueState<byte[]> progress;
  private transient MapState<Long, byte[]> records;
  private transient Map<Integer, List<ArrayDeque<Long>>> kept; // partition → of each input, the offsets that are in the state
  private transient List<byte[]> batch;
  private transient long batchBytes;

  JoinOperator(List<String> command, int[] keys) {
    this.command = new ArrayList<>(command);
    this.keys = keys;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    PrimitiveArrayTypeInfo<byte[]> bytes = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    progress = context.getKeyedStateStore().getState(new ValueStateDescriptor<>("progress", bytes));
    records = context.getKeyedStateStore().getMapState(new MapStateDescriptor<>("records", Types.LONG, bytes));
    kept = new HashMap<>();
    batch = new ArrayList<>();
  }

  @Override
  public void open() throws Exception {
    super.open();
    task = new Task(command);
    TaskInfo self = getRuntimeContext().getTaskInfo();
    for (int partition : // a key group has its partition's number
        KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex(
            keys.length, self.getNumberOfParallelSubtasks(), self.getIndexOfThisSubtask())) {
      setCurrentKey(keys[partition]);
      kept.put(partition, List.of(new ArrayDeque<>(), new ArrayDeque<>()));
      TreeMap<Long, byte[]> inOrder = new TreeMap<>();
      for (Map.Entry<Long, byte[]> entry : records.entries()) inOrder.put(entry.getKey(), entry.getValue());
      inOrder.forEach((key, record) -> offsets(record).add(Frames.offset(record)));
      task.assign(partition, progress.value(), inOrder.values());
    }
    exchange(task.start());
    setTimer();
  }

  @Override
  public void processElement(StreamRecord<byte[]> element) throws Exception {
    byte[] record = element.getValue();
    task.send(record);
    batch.add(record);
    batchBytes += record.length;
    if (batch.size() >= BATCH || batchBytes >= BATCH_BYTES) flush();
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
    exchange(task.checkpoint());
  }

  @Override
  public void finish() throws Exception {
    flush();
    super.finish();
  }

  @Override
  public void close() throws Exception {
    if (task != null) task.close();
    super.close();
  }

  private void setTimer() {
    long now = getProcessingTimeService().getCurrentProcessingTime();
    getProcessingTimeService().registerTimer(now + INTERVAL, time -> {
      flush();
      setTimer();
    });
  }

  private void flush() throws Exception {
    exchange(task.flush());
  }

  /** Send on what the task has written, and keep what it still needs. */
  private void exchange(Task.Answer answer) throws Exception {
    for (byte[] message : answer.messages) output.collect(new StreamRecord<>(message));
    batch.addAll(0, answer.records);
    for (byte[] record : batch) {
      setCurrentKey(keys[Frames.partition(record)]);
      records.put(place(Frames.input(record), Frames.offset(record)), record);
      offsets(record).add(Frames.offset(record));
    }
    batch.clear();
    batchBytes = 0;
    for (Task.Progress made : answer.progress) {
      setCurrentKey(keys[made.partition]);
      progress.update(made.bytes);
      for (int input = 0; input < 2; input++) {
        ArrayDeque<Long> offsets = kept.get(made.partition).get(input);
        while (!offsets.isEmpty() && offsets.getFirst() < made.rewind[input]) records.remove(place(input, offsets.removeFirst()));
      }
    }
  }

  private ArrayDeque<Long> offsets(byte[] record) {
    return kept.get(Frames.partition(record)).get(Frames.input(record));
  }

  private static long place(int input, long offset) {
    return offset << 1 | input;
  }
}
