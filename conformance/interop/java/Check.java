package interop;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.arcp.core.error.ArcpException;
import dev.arcp.core.error.ErrorCode;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/** Assertions that say what was expected and what came. */
final class Check {
  private static final ObjectMapper MAPPER = new ObjectMapper();

  private Check() {}

  /** Parses JSON in which {@code '} stands for a quotation mark. */
  static JsonNode json(String text) {
    try {
      return MAPPER.readTree(text.replace('\'', '"'));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(text, e);
    }
  }

  static void equal(Object actual, Object expected, String what) {
    if (!Objects.equals(actual, expected)) {
      throw new AssertionError(what + ": expected " + shortened(expected) + ", got " + shortened(actual));
    }
  }

  /** Compares a value with JSON in which {@code '} stands for a quotation mark. */
  static void equalJson(JsonNode actual, String expected, String what) {
    equal(String.valueOf(actual), json(expected).toString(), what);
  }

  static void that(boolean condition, String complaint) {
    if (!condition) {
      throw new AssertionError(complaint);
    }
  }

  /** The error must be one of the protocol's, with one of these codes and a message. */
  static ArcpException isError(String what, Throwable error, ErrorCode... codes) {
    if (!(error instanceof ArcpException arcp)) {
      throw new AssertionError(what + ": expected " + Arrays.toString(codes) + ", got " + error, error);
    }
    that(List.of(codes).contains(arcp.code()), what + ": got " + arcp.code() + ": " + arcp.getMessage());
    that(!arcp.getMessage().isEmpty(), what + ": error without a message");
    return arcp;
  }

  /** A call that may throw anything. */
  interface Attempt {
    void run() throws Exception;
  }

  /** The call must throw one of the protocol's errors with one of these codes. */
  static ArcpException failsWith(String what, Attempt attempt, ErrorCode... codes) throws Exception {
    try {
      attempt.run();
    } catch (ArcpException error) {
      return isError(what, error, codes);
    }
    throw new AssertionError(what + ": expected " + Arrays.toString(codes) + ", but it succeeded");
  }

  static List<Integer> upTo(int count) {
    return IntStream.rangeClosed(1, count).boxed().toList();
  }

  private static String shortened(Object value) {
    String text = String.valueOf(value);
    return text.length() <= 240 ? text : text.substring(0, 200) + "… (" + text.length() + " characters)";
  }
}
