package sml;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;

/**
 * Records and messages as bytes, as stream/flink/frames.py has them: the job itself never looks at what they hold.
 *
 * <p>A record: input (0: impressions), partition, offset, timestamp, then key, value and headers. A message: topic and partition (-1: the
 * client chooses), then the same. Numbers are big-endian; a text or bytes have their length before them, -1 for none.
 */
final class Frames {
  private static final int PARTITION = 1, OFFSET = 5; // where a record's begin
  private static final int LARGEST = 2_000_000; // bytes of a value

  private Frames() {}

  /** Return for each partition a key whose key group is the partition's number. */
  static int[] keys(int partitions) {
    int[] keys = new int[partitions];
    for (int found = 0, key = 1; found < partitions; key++) {
      int group = KeyGroupRangeAssignment.assignToKeyGroup(key, partitions);
      if (keys[group] == 0) {
        keys[group] = key;
        found++;
      }
    }
    return keys;
  }

  static int input(byte[] record) {
    return record[0];
  }

  static int partition(byte[] record) {
    return ByteBuffer.wrap(record).getInt(PARTITION);
  }

  static long offset(byte[] record) {
    return ByteBuffer.wrap(record).getLong(OFFSET);
  }

  private static void write(DataOutputStream out, byte[] bytes) throws IOException {
    out.writeInt(bytes == null ? -1 : bytes.length);
    if (bytes != null) out.write(bytes);
  }

  private static byte[] read(ByteBuffer in) {
    int length = in.getInt();
    if (length < 0) return null;
    byte[] bytes = new byte[length];
    in.get(bytes);
    return bytes;
  }

  private static String text(ByteBuffer in) {
    return new String(read(in), StandardCharsets.UTF_8);
  }

  static final class OfRecords implements KafkaRecordDeserializationSchema<byte[]> {
    private final List<String> topics;

    OfRecords(List<String> topics) {
      this.topics = topics;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<byte[]> collector) throws IOException {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeByte(topics.indexOf(record.topic()));
      out.writeInt(record.partition());
      out.writeLong(record.offset());
      out.writeLong(record.timestamp());
      write(out, record.key());
      write(out, usable(record.value()));
      Header[] headers = record.headers().toArray();
      out.writeInt(headers.length);
      for (Header header : headers) {
        write(out, header.key().getBytes(StandardCharsets.UTF_8));
        write(out, header.value());
      }
      collector.collect(bytes.toByteArray());
    }

    /** Return a value, or what is said in place of one that is larger than anything that is read: as stream/log/kafka/records.py does. */
    private static byte[] usable(byte[] value) {
      if (value == null || value.length <= LARGEST) return value;
      String said = String.format(Locale.ROOT, "a value of %,d bytes, expected at most %,d", value.length, LARGEST);
      return said.getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public TypeInformation<byte[]> getProducedType() {
      return PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    }
  }

  static final class OfMessages implements KafkaRecordSerializationSchema<byte[]> {
    @Override
    public ProducerRecord<byte[], byte[]> serialize(byte[] message, KafkaSinkContext context, Long timestamp) {
      ByteBuffer in = ByteBuffer.wrap(message);
      String topic = text(in);
      int partition = in.getInt();
      ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, partition < 0 ? null : partition, read(in), read(in));
      for (int left = in.getInt(); left > 0; left--) record.headers().add(text(in), read(in));
      return record;
    }
  }
}
