package sml;

import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/**
 * The join of `sml join` as a job: one source of both inputs, one operator keyed by the partition, one exactly-once sink.
 *
 * <p>Arguments: -Dkey=value for Flink, then the command that starts a task, `sml join-task --config sml.toml`. Asked for its --plan, it
 * prints the topics, how many partitions they have, and how to reach Kafka.
 */
public final class JoinJob {
  public static void main(String[] arguments) throws Exception {
    int options = (int) Arrays.stream(arguments).takeWhile(each -> each.startsWith("-D")).count();
    Configuration configuration = new Configuration();
    for (String option : Arrays.copyOf(arguments, options)) {
      String[] pair = option.substring(2).split("=", 2);
      configuration.setString(pair[0], pair[1]);
    }
    run(configuration, List.of(Arrays.copyOfRange(arguments, options, arguments.length)));
  }

  private static void run(Configuration configuration, List<String> command) throws Exception {
    Properties plan = plan(command);
    List<String> task = new ArrayList<>(command);
    task.addAll(List.of("--token", plan.getProperty("token")));
    int[] keys = Frames.keys(Integer.parseInt(plan.getProperty("partitions")));
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(configuration);
    environment.setMaxParallelism(keys.length); // a partition is a key group: it is spread, and moved, as a whole
    PrimitiveArrayTypeInfo<byte[]> bytes = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    environment
        .fromSource(source(plan), WatermarkStrategy.noWatermarks(), "inputs", bytes)
        .uid("inputs")
        .keyBy(frame -> keys[Frames.partition(frame)], Types.INT)
        .transform("join", bytes, new JoinOperator(task, keys))
        .uid("join")
        .sinkTo(sink(plan))
        .uid("outputs");
    environment.execute(plan.getProperty("name"));
  }

  private static Properties plan(List<String> command) throws Exception {
    List<String> asked = new ArrayList<>(command);
    asked.add("--plan");
    Process process = new ProcessBuilder(asked).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    Properties plan = new Properties();
    plan.load(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    if (process.waitFor() != 0) throw new IllegalStateException("no plan from " + asked);
    return plan;
  }

  private static Properties kafka(Properties plan) {
    Properties kafka = new Properties();
    plan.stringPropertyNames().stream()
        .filter(name -> name.startsWith("kafka."))
        .forEach(name -> kafka.setProperty(name.substring(6), plan.getProperty(name)));
    return kafka;
  }

  private static KafkaSource<byte[]> source(Properties plan) {
    List<String> topics = List.of(plan.getProperty("topics").split(","));
    return KafkaSource.<byte[]>builder()
        .setProperties(kafka(plan))
        .setProperty("isolation.level", "read_committed")
        .setProperty("partition.discovery.interval.ms", "-1") // topics of the join don't grow
        .setGroupId(plan.getProperty("group")) // where `sml join` stopped
        .setTopics(topics)
        .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
        .setDeserializer(new Frames.OfRecords(topics))
        .build();
  }

  private static KafkaSink<byte[]> sink(Properties plan) {
    return KafkaSink.<byte[]>builder()
        .setKafkaProducerConfig(kafka(plan))
        .setProperty("transaction.timeout.ms", "900000") // the most that a broker allows by default: a job may be away for so long
        .setProperty("compression.type", "lz4")
        .setProperty("max.request.size", "16000000") // of a record before compression: an example is as large as its impression
        .setBootstrapServers(plan.getProperty("kafka.bootstrap.servers"))
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(plan.getProperty("name"))
        .setRecordSerializer(new Frames.OfMessages())
        .build();
  }
}
