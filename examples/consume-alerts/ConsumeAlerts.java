import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads committed alerts with Kafka's own client, and commits offsets once they are handled. One file, no build:
 *
 *   java -cp 'path/to/kafka/libs/*' ConsumeAlerts.java 127.0.0.1:9092 [TOPIC] [GROUP] [SECONDS_IDLE]
 *
 * With SECONDS_IDLE it ends after so long without an alert. Ends with 1 when an alert comes twice. The last line says
 * how many there were.
 */
public class ConsumeAlerts {
  static final String EVENT_TYPE = "fraud.alert.v1";

  public static void main(String[] args) {
    String brokers = args.length > 0 ? args[0] : "127.0.0.1:9092";
    String topic = args.length > 1 ? args[1] : "fraud.alerts";
    String group = args.length > 2 ? args[2] : "alert-example-java";
    Duration idle = args.length > 3 ? Duration.ofMillis((long) (Double.parseDouble(args[3]) * 1000)) : null;

    KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(settings(brokers, group));
    Thread main = Thread.currentThread();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      consumer.wakeup();
      try {
        main.join(10_000);
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
      }
    }));

    Map<String, String> places = new HashMap<>();
    boolean twice = false;
    try (consumer) {
      consumer.subscribe(List.of(topic));
      long lastAlert = System.nanoTime();
      while (!twice && (idle == null || System.nanoTime() - lastAlert < idle.toNanos())) {
        for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
          lastAlert = System.nanoTime();
          if (EVENT_TYPE.equals(header(record, "ce_type"))) twice |= isSecond(record, places);
        }
        // Still joining the group: nothing can come yet.
        if (consumer.assignment().isEmpty()) lastAlert = System.nanoTime();
        // Everything that poll gave has been handled: where reading goes on may be said now.
        if (!twice) consumer.commitSync();
      }
    } catch (WakeupException stopped) {
      // Ctrl-C. What was handled but not committed is read again at the next start.
    }
    System.out.println("{\"alerts\": " + places.size() + ", \"twice\": " + twice + "}");
    Runtime.getRuntime().halt(twice ? 1 : 0);
  }

  static Properties settings(String brokers, String group) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", brokers);
    settings.put("group.id", group);
    settings.put("isolation.level", "read_committed");
    settings.put("auto.offset.reset", "earliest");
    settings.put("enable.auto.commit", "false");
    settings.put("key.deserializer", StringDeserializer.class.getName());
    settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
    return settings;
  }

  /** Handles an alert; true where its id was at another place before. Take ce_id for the key of what you write. */
  static boolean isSecond(ConsumerRecord<String, byte[]> record, Map<String, String> places) {
    String id = header(record, "ce_id");
    String place = record.partition() + "/" + record.offset();
    String known = places.putIfAbsent(id, place);
    System.out.println(id + " card " + record.key() + " at " + place + ": " + new String(record.value(), StandardCharsets.UTF_8));
    return known != null && !known.equals(place);
  }

  /** A CloudEvents attribute: UTF-8 in a `ce_` header. Null where there is none. */
  static String header(ConsumerRecord<?, ?> record, String name) {
    Header header = record.headers().lastHeader(name);
    return header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
  }
}
