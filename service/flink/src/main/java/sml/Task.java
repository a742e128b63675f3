package sml;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.flink.runtime.execution.SuppressRestartsException;

/**
 * A process that joins, at the other end of two pipes: see stream/flink/task.py.
 *
 * <p>Each frame has its length, then a letter. To the task: A assigns a partition, R is a record, S starts, F asks for all that is decided, C
 * the same before a checkpoint. These three are answered: K a record to keep, M a message to write, P progress, then D; or E, an error that another try does not mend, or T,
 * one that it may.
 */
final class Task implements AutoCloseable {
  private static final int BUFFER = 1 << 16;

  static final class Progress {
    final int partition;
    final long[] rewind; // of each input: records before it are not needed any more
    final byte[] bytes;

    Progress(int partition, long[] rewind, byte[] bytes) {
      this.partition = partition;
      this.rewind = rewind;
      this.bytes = bytes;
    }
  }

  static final class Answer {
    final List<byte[]> records = new ArrayList<>(), messages = new ArrayList<>();
    final List<Progress> progress = new ArrayList<>();
  }

  private final Process process;
  private final DataOutputStream out;
  private final DataInputStream in;

  Task(List<String> command) throws IOException {
    process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    out = new DataOutputStream(new BufferedOutputStream(process.getOutputStream(), BUFFER));
    in = new DataInputStream(new BufferedInputStream(process.getInputStream(), BUFFER));
  }

  /** Assign a partition, with what was kept of it; null: nothing ever was. */
  void assign(int partition, byte[] progress, Collection<byte[]> records) throws IOException {
    out.writeInt(5 + (progress == null ? 0 : progress.length));
    out.writeByte('A');
    out.writeInt(partition);
    if (progress != null) out.write(progress);
    for (byte[] record : records) send(record);
  }

  void send(byte[] record) throws IOException {
    out.writeInt(1 + record.length);
    out.writeByte('R');
    out.write(record);
  }

  Answer start() throws IOException {
    return ask('S');
  }

  Answer flush() throws IOException {
    return ask('F');
  }

  Answer checkpoint() throws IOException {
    return ask('C');
  }

  private Answer ask(char what) throws IOException {
    out.writeInt(1);
    out.writeByte(what);
    out.flush();
    for (Answer answer = new Answer(); ; ) {
      byte[] rest = new byte[length()];
      char kind = (char) in.readByte();
      if (kind == 'P') {
        int partition = in.readInt();
        long[] rewind = {in.readLong(), in.readLong()};
        rest = new byte[rest.length - 20];
        in.readFully(rest);
        answer.progress.add(new Progress(partition, rewind, rest));
        continue;
      }
      in.readFully(rest);
      switch (kind) {
        case 'K' -> answer.records.add(rest);
        case 'M' -> answer.messages.add(rest);
        case 'D' -> {
          return answer;
        }
        case 'E' -> throw new SuppressRestartsException(new IOException(new String(rest, StandardCharsets.UTF_8)));
        default -> throw new IOException(new String(rest, StandardCharsets.UTF_8));
      }
    }
  }

  private int length() throws IOException {
    try {
      return in.readInt() - 1;
    } catch (EOFException error) {
      throw new IOException("the task has ended, see what it wrote above", error);
    }
  }

  @Override
  public void close() throws IOException {
    try {
      process.getOutputStream().close(); // then it ends by itself
      if (process.waitFor(2, TimeUnit.SECONDS)) return;
    } catch (IOException gone) {
      // It has ended already.
    } catch (InterruptedException asked) {
      Thread.currentThread().interrupt();
    }
    process.destroyForcibly();
  }
}
